/** study as a person calls it, small. */
import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, succeed } from "./process.ts";

const folder = mkdtempSync(join(tmpdir(), "study-"));
const small = ["--micro", "--models", "graft-micro-bloom", "--tasks", "micro-common", "--steps", "6", "--limit", "4"];

interface Result {
  model: string;
  method: string;
  acc: number;
  trainable_parameters: number;
  final_loss: number | null;
}

test("trains and measures each cell, keeps it, and draws table and picture", async () => {
  const args = ["study", ...small, "--methods", "lora,prefix-tuning", "--output-dir", folder, "--json"];
  const results = JSON.parse((await succeed(...args)).out) as Result[];
  expect(results.map((r) => r.method)).toEqual(["base", "lora", "prefix-tuning"]);
  for (const { method, final_loss: loss, trainable_parameters: parameters } of results.slice(1)) {
    expect({ method, isTrained: loss! > 0 && parameters > 0 }).toEqual({ method, isTrained: true });
  }
  const table = readFileSync(join(folder, "table.md"), "utf8");
  expect(table).toMatch(/\| graft-micro-bloom \| LoRA \| \d+\.\d ± \d+\.\d \|/);
  const svg = readFileSync(join(folder, "study.svg"), "utf8");
  expect(svg).toStartWith("<svg");
  for (const word of ["LoRA", "Prefix", "micro-common"]) expect(svg).toContain(word);

  // Again: nothing is trained. With other settings, anew.
  const path = join(folder, "cells/graft-micro-bloom/lora/micro-common/adapter_model.safetensors");
  const before = statSync(path).mtimeMs;
  const again = await succeed(...args);
  expect(again.err).toContain("LoRA  (done before)");
  expect(JSON.parse(again.out)).toEqual(results);
  expect(statSync(path).mtimeMs).toBe(before);
  const longer = await succeed(...args.with(args.indexOf("6"), "7").with(args.indexOf("lora,prefix-tuning"), "lora"));
  expect(longer.err).toContain("none  (done before)");
  expect(longer.err).not.toContain("LoRA  (done before)");
  expect(statSync(path).mtimeMs).not.toBe(before);
  expect(existsSync(join(folder, "results.json"))).toBe(true);
});

test("wrong names are answered with near ones", async () => {
  expectFailure(await graft("study"), 2, "--micro");
  expectFailure(await graft("study", "--micro", "--methods", "lorra"), 2, "lorra", "lora");
});
