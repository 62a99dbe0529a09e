/** Rows to fill a store with. */
import type { FileRow, NewJob, NewKey, NewVersion } from "../src/db/index.ts";

export const at = new Date("2025-01-31T23:59:59.500Z");
export const later = (seconds: number): Date => new Date(at.getTime() + 1000 * seconds);

export const newVersion = (hash: string, changes: Partial<NewVersion> = {}): NewVersion => ({
  hash,
  path: null,
  source: { type: "upload" },
  method: "lora",
  parameters: 8192,
  bytes: 33_000,
  virtualTokens: 0,
  ...changes,
});

export const newJob = (id: string, changes: Partial<NewJob> = {}): NewJob => ({
  id,
  request: { model: "base", training_file: "file-1", hyperparameters: { n_epochs: "auto" }, odd: ["\0", "ü", null] },
  model: "base",
  trainingFile: "file-1",
  validationFile: null,
  suffix: null,
  seed: 2 ** 40,
  metadata: { team: "a" },
  ...changes,
});

export const newFile = (id: string, changes: Partial<FileRow> = {}): FileRow => ({
  id,
  filename: "données 日本.jsonl",
  purpose: "fine-tune",
  format: "chat",
  rows: 3,
  bytes: 2 ** 33,
  sha256: "a".repeat(64),
  createdAt: at,
  ...changes,
});

export const newKey = (id: string, changes: Partial<NewKey> = {}): NewKey => ({
  id,
  name: "for tests",
  hash: `hash of ${id}`,
  prefix: "gk-abcd",
  scopes: ["infer"],
  requestsPerMinute: 60,
  tokensPerMinute: null,
  createdAt: at,
  ...changes,
});
