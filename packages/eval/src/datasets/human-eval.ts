import { readJsonElements } from "@graft/core/data";
import { DataError } from "@graft/core/errors";
import { z } from "zod";
import type { Dataset } from "../dataset.ts";

const docSchema = z.looseObject({
  task_id: z.string(),
  /** The head of a Python function with its docstring. */
  prompt: z.string(),
  entry_point: z.string(),
  canonical_solution: z.string(),
  /** Defines check(candidate). */
  test: z.string(),
});
export type HumanEvalDoc = z.output<typeof docSchema>;

export const humanEval: Dataset<HumanEvalDoc> = {
  name: "human_eval",
  summary: "Python functions to write",
  licence: "MIT",
  citation: "Chen et al. 2021, arXiv:2107.03374",
  files: { test: ["human-eval/HumanEval.jsonl", "human_eval/HumanEval.jsonl", "HumanEval.jsonl"] },
  rows: 164,
  sources: [
    {
      url: "https://raw.githubusercontent.com/openai/human-eval/master/data/HumanEval.jsonl.gz",
      path: "human-eval/HumanEval.jsonl.gz",
    },
  ],
  async read(path) {
    return (await readJsonElements(path)).map(({ value, line }) => {
      const row = docSchema.safeParse(value);
      if (row.success) return row.data;
      const issue = row.error.issues[0]!;
      throw new DataError(`${path}: line ${line}: field "${issue.path.join(".")}": ${issue.message}`);
    });
  },
};
