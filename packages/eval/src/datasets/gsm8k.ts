import { DataError } from "@graft/core/errors";
import { z } from "zod";
import { arithmeticDataset, instructionDoc, numberText } from "./_arithmetic.ts";
import { form } from "./_forms.ts";
import { llmAdapters } from "./_sources.ts";

/** {question, answer}, where the answer is a solution that ends in "#### 72". */
const published = form(z.object({ question: z.string(), answer: z.string() }), ({ question, answer }) => {
  const at = answer.lastIndexOf("####");
  if (at < 0) throw new DataError('field "answer" has no "####" with the number behind it');
  const stated = answer.slice(at + "####".length).trim();
  const gold = Number(numberText(stated.replaceAll(",", "")));
  // Notes for a calculator, such as <<48/2=24>>, are for another trainer.
  const steps = answer
    .slice(0, at)
    .replaceAll(/<<[^>]*>>/g, "")
    .trim();
  return instructionDoc(question, numberText(gold), `${steps}\nThe answer is ${stated}.`);
});

export const gsm8k = arithmeticDataset({
  name: "gsm8k",
  summary: "grade-school word problems",
  licence: "MIT",
  citation: "Cobbe et al. 2021, arXiv:2110.14168",
  files: {
    test: ["gsm8k/test.json", "gsm8k-original/test.jsonl", "gsm8k/test.jsonl"],
    train: ["train/gsm8k_train.json", "gsm8k/train.json", "gsm8k/train.jsonl"],
  },
  rows: 1319,
  sources: [
    ...llmAdapters("gsm8k"),
    {
      url: "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/train.jsonl",
      path: "gsm8k/train.jsonl",
    },
  ],
  published,
});
