import { z } from "zod";
import type { Dataset } from "../dataset.ts";
import { form, readForms } from "./_forms.ts";

const row = z.object({
  task_id: z.string(),
  /** The head of a Python function with its docstring. */
  prompt: z.string(),
  entry_point: z.string(),
  canonical_solution: z.string(),
  /** Defines check(candidate). */
  test: z.string(),
});
export type HumanEvalDoc = z.output<typeof row>;

export const humanEval: Dataset<HumanEvalDoc> = {
  name: "humaneval",
  summary: "Python functions to write",
  licence: "MIT",
  citation: "Chen et al. 2021, arXiv:2107.03374",
  files: { test: ["human-eval/HumanEval.jsonl", "human_eval/HumanEval.jsonl", "HumanEval.jsonl"] },
  rows: 164,
  sources: [
    {
      url: "https://raw.githubusercontent.com/openai/human-eval/master/data/HumanEval.jsonl.gz",
      sha256: "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
      sizeBytes: 44_877,
      path: "human-eval/HumanEval.jsonl.gz",
    },
  ],
  read: (path) => readForms(path, [form(row, (doc) => doc)]),
};
