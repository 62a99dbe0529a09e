import { DataError } from "@graft/core/errors";
import { z } from "zod";
import type { Dataset } from "../dataset.ts";
import type { ChoiceDoc, InstructionDoc } from "../doc.ts";
import { form, instructionForm, readForms } from "./_forms.ts";
import { llmAdapters } from "./_sources.ts";

const OPENING = "Please answer the following question with true or false, question: ";
const CLOSING = "?\n\nAnswer format: true/false";
const labels = ["true", "false"] as const;

/** {question, answer, passage}. The passage is kept: LLM-Adapters leaves it out, lm-evaluation-harness asks with it. */
const published = form(
  z.object({ question: z.string(), answer: z.boolean(), passage: z.string() }),
  ({ question, answer, passage }): ChoiceDoc => ({
    instruction: OPENING + question + CLOSING,
    input: "",
    output: `the correct answer is ${answer}`,
    answer: String(answer),
    question,
    choices: labels,
    labels,
    passage,
  }),
);

function parse(doc: InstructionDoc): ChoiceDoc {
  const { instruction, answer } = doc;
  if (!labels.some((label) => label === answer))
    throw new DataError(`field "answer" is ${JSON.stringify(answer)}, neither true nor false`);
  if (!instruction.endsWith(CLOSING))
    throw new DataError(`field "instruction" does not end in ${JSON.stringify(CLOSING)}`);
  const question = instruction.slice(0, -CLOSING.length);
  return {
    ...doc,
    question: question.startsWith(OPENING) ? question.slice(OPENING.length) : question,
    choices: labels,
    labels,
  };
}

export const boolq: Dataset<ChoiceDoc> = {
  name: "boolq",
  summary: "yes-no questions",
  licence: "CC-BY-SA-3.0",
  citation: "Clark et al. 2019, arXiv:1905.10044",
  files: { test: ["boolq/test.json", "boolq/dev.jsonl"], train: ["boolq/train.json", "boolq/train.jsonl"] },
  rows: 3270,
  sources: llmAdapters("boolq", ["test", "train"]),
  read: (path) => readForms(path, [instructionForm(parse), published]),
};
