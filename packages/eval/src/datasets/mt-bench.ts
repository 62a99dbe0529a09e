import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import type { Dataset } from "../dataset.ts";
import { form, readForms } from "./_forms.ts";

const question = z.object({
  question_id: z.int(),
  category: z.string(),
  turns: z.array(z.string()).length(2),
  /** Answers to both turns that a judge compares with. */
  reference: z.array(z.string()).optional(),
});
export type MtBenchDoc = z.output<typeof question>;

const answer = z.object({
  question_id: z.int(),
  choices: z.array(z.object({ turns: z.array(z.string()) })).min(1),
});

/** Beside question.jsonl, in our own layout and in FastChat's. */
const REFERENCES = ["reference_answer_gpt-4.jsonl", "reference_answer/gpt-4.jsonl"];
const FASTCHAT =
  "https://raw.githubusercontent.com/lm-sys/FastChat/587d5cfa1609a43d192cedb8441cac3c17db105d/fastchat/llm_judge/data";

/** 80 questions of two turns. GPT-4's answers take the place of a question's own `reference`, as FastChat judges with them. */
export const mtBench: Dataset<MtBenchDoc> = {
  name: "mt_bench",
  summary: "two-turn questions",
  licence: "Apache-2.0",
  citation: "Zheng et al. 2023, arXiv:2306.05685",
  files: { test: ["mt-bench/question.jsonl", "mt_bench/question.jsonl"] },
  rows: 80,
  sources: [
    {
      url: `${FASTCHAT}/mt_bench/question.jsonl`,
      sha256: "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
      sizeBytes: 48_929,
      path: "mt-bench/question.jsonl",
    },
    {
      url: `${FASTCHAT}/mt_bench/reference_answer/gpt-4.jsonl`,
      sha256: "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
      sizeBytes: 51_109,
      path: "mt-bench/reference_answer_gpt-4.jsonl",
    },
    {
      url: `${FASTCHAT}/judge_prompts.jsonl`,
      sha256: "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
      sizeBytes: 10_449,
      path: "mt-bench/judge_prompts.jsonl",
    },
  ],
  async read(path) {
    const answers = await readReferences(path);
    const docs = await readForms(path, [form(question, (doc): MtBenchDoc => doc)]);
    return docs.map((doc) => {
      const reference = answers.get(doc.question_id) ?? doc.reference;
      return reference === undefined ? doc : { ...doc, reference };
    });
  },
};

async function readReferences(questions: string): Promise<ReadonlyMap<number, string[]>> {
  const path = REFERENCES.map((name) => join(dirname(questions), name)).find((place) => existsSync(place));
  if (path === undefined) return new Map();
  const rows = await readForms(path, [
    form(answer, ({ question_id, choices }) => [question_id, choices[0]!.turns] as const),
  ]);
  return new Map(rows);
}
