import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { microModel, startMicroServer } from "./in-process.ts";
import { hotSwap } from "./proof/hot-swap.ts";

// The whole of it, a minute with 16 streams and 200 changes, is bench/hot-swap.ts.
test("under fire nothing fails, each answer is one version's, and memory comes back", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hot-swap-"));
  const server = await startMicroServer({ adapters: {}, adapterRoots: [folder] });
  try {
    const result = await hotSwap({
      server,
      model: microModel,
      folder,
      kinds: ["lora", "series", "prefix"],
      versions: 2,
      streams: 6,
      changes: 24,
      seconds: 0,
      seed: 1,
    });
    expect(result.failures).toEqual([]);
    expect(result.changes).toBeGreaterThanOrEqual(24);
    expect(result.requests).toBeGreaterThan(0);
    expect(result.deviceBytes.after).toBe(result.deviceBytes.before);
  } finally {
    await server.close();
    rmSync(folder, { recursive: true });
  }
});
