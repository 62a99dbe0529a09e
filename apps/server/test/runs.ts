/** Runs and results to fill a database with. */
import type { Item, NewResult, NewRun } from "../src/db/index.ts";

export const at = new Date("2025-01-31T23:59:59.500Z");

export const newRun: NewRun = {
  kind: "eval",
  system: "lora",
  model: "models/base",
  adapter: "out/lora",
  settings: { model: "models/base", adapter: ["lora=out/lora"], tasks: ["gsm8k"], limit: 3 },
  folder: "/somewhere",
  output: null,
  seed: 7,
  modelHash: "a".repeat(64),
  adapterHash: "b".repeat(64),
  kernelHash: null,
  device: "llvmpipe",
  driver: "lavapipe",
  version: "0.1.0",
  commit: null,
};

/** 64 digits that differ from doc to doc. */
export const docHash = (i: number): string => new Bun.CryptoHasher("sha256").update(`doc ${i}`).digest("hex");

export const itemsOf = (values: readonly Item["value"][]): Item[] =>
  values.map((value, i) => ({ docHash: docHash(i), value }));

export function newResult(task: string, values: readonly Item["value"][]): NewResult {
  return {
    task,
    version: 1,
    scoring: "fixed",
    figures: { acc: { value: 0.5, stderr: 0.1, interval: [0.3, 0.7], higherIsBetter: true } },
    primary: "acc",
    count: values.length,
    total: 1319,
    cut: 0,
    datasetPath: "/data/test.json",
    datasetSha256: "d".repeat(64),
    promptsHash: "e".repeat(64),
    answersHash: "f".repeat(64),
    template: "alpaca",
    templateHash: "9".repeat(64),
    decoding: { maxNewTokens: 32 },
    contamination: [],
    seconds: 1.5,
    items: itemsOf(values),
  };
}
