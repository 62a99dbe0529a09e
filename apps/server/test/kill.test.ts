import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { microModel } from "./in-process.ts";
import { killAndCheck } from "./proof/kill.ts";

// The whole of it, fifty kills, is bench/kill.ts.
test("what was acknowledged outlives kill -9, and a job goes on to the same bytes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kill-"));
  try {
    const result = await killAndCheck({ model: microModel, folder, kills: 4, steps: 24, seed: 1, maxMs: 1500 });
    expect(result.failures).toEqual([]);
    expect(result.files).toBeGreaterThan(0);
    expect(result.publications).toBeGreaterThan(0);
    expect(result.events).toBeGreaterThan(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
