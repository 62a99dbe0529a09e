import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import { parseWith, readJson } from "./json.ts";

const folder = mkdtempSync(join(tmpdir(), "graft-json-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "config.json");
const schema = z.looseObject({ model: z.object({ layers: z.int().min(1), eps: z.number().default(1e-6) }) });

test("defaults of the schema are in what is read", () => {
  writeFileSync(path, '{"model": {"layers": 2}, "more": 1}');
  expect(readJson(path, schema)).toEqual({ model: { layers: 2, eps: 1e-6 }, more: 1 });
});

test("an error names the file and every field that does not fit", () => {
  writeFileSync(path, '{"model": {"layers": 0, "eps": "small"}}');
  expect(() => readJson(path, schema)).toThrow(ConfigError);
  expect(() => readJson(path, schema)).toThrow(
    `${path}: model.layers: Too small: expected number to be >=1; model.eps: Invalid input: expected number`,
  );
  expect(() => parseWith(schema, 3, "--config")).toThrow("--config: the value: Invalid input: expected object");
});

test("a missing file, a folder and text that is no JSON are told apart", () => {
  expect(() => readJson(join(folder, "none.json"), schema)).toThrow(/none\.json: no such file$/);
  expect(() => readJson(folder, schema)).toThrow(`${folder}: cannot be read: EISDIR`);
  writeFileSync(path, "{nope");
  expect(() => readJson(path, schema)).toThrow(`${path}: is not valid JSON: `);
});
