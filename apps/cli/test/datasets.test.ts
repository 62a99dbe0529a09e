/** `graft datasets` as a person meets it. */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, succeed } from "./process.ts";

test("ls says what there is, where it is, and what can be fetched", async () => {
  const folder = mkdtempSync(join(tmpdir(), "datasets-"));
  mkdirSync(join(folder, "SVAMP"));
  writeFileSync(join(folder, "SVAMP/test.json"), "[]");
  const { out } = await succeed("datasets", "ls", "--data-dir", folder, "--json");
  const { datasets } = JSON.parse(out) as {
    datasets: { name: string; rows: number; test: string | null; can_be_pulled: boolean; licence: string }[];
  };
  expect(datasets.length).toBeGreaterThanOrEqual(28);
  const found = (name: string) => datasets.find((one) => one.name === name)!;
  expect(found("svamp")).toMatchObject({ rows: 1000, test: join(folder, "SVAMP/test.json"), can_be_pulled: true });
  expect(found("micro-math").test).toEndWith("models/data/micro-math-test.json");
  expect(found("micro-math").can_be_pulled).toBe(false);
  const { out: shown } = await succeed("datasets", "ls", "--data-dir", folder);
  expect(shown).toContain(join(folder, "SVAMP/test.json"));
});

test("what cannot be pulled is said", async () => {
  const to = mkdtempSync(join(tmpdir(), "pull-"));
  expectFailure(await graft("datasets", "pull", "gsm8", "--to", to), 1, 'unknown data set "gsm8"; did you mean gsm8k?');
  expectFailure(await graft("datasets", "pull", "micro-math", "--to", to), 1, "micro-math cannot be pulled");
  expectFailure(await graft("datasets", "pull", "--to", to), 2, "missing required argument");
});
