import { z } from "zod";
import type { Dataset } from "../dataset.ts";
import type { ChoiceDoc, InstructionDoc } from "../doc.ts";
import { instructionDoc } from "./_arithmetic.ts";
import { form, instructionForm, readForms } from "./_forms.ts";
import { letterDoc, optionsAt, splitAtHeading } from "./_letters.ts";
import { llmAdapters } from "./_sources.ts";

const HEADING = " Answer Choices:";

/** The blanks that LLM-Adapters' rows have around every bracket, inside options too; Kojima et al. 2022, arXiv:2205.11916, brought them in. */
const spread = (text: string): string => text.replaceAll("(", " (").replaceAll(")", ") ");
const unspread = (text: string): string => text.replaceAll(" (", "(").replaceAll(") ", ")");

/** {question, options: ["A)21", ...], rationale, correct}. */
const published = form(
  z.object({
    question: z.string(),
    options: z.array(z.string()).length(5),
    rationale: z.string().default(""),
    correct: z.string(),
  }),
  ({ question, options, rationale, correct }) =>
    parse(
      instructionDoc(
        `${question.trim()}${HEADING}${spread(`(${options.join("(")}`)}`,
        correct,
        rationale && `${rationale.trim()}\nThe answer is (${correct}).`,
      ),
    ),
);

function parse(doc: InstructionDoc): ChoiceDoc {
  const [question, list] = splitAtHeading(doc.instruction, HEADING);
  const options = optionsAt(unspread(list), (letter) => `(${letter})`);
  return letterDoc(doc, question, options, "Answer Choices: (A) 1 (B) 2 (C) 3 (D) 4 (E) 5");
}

export const aqua: Dataset<ChoiceDoc> = {
  name: "aqua",
  summary: "algebra, five options",
  licence: "Apache-2.0",
  citation: "Ling et al. 2017, arXiv:1705.04146",
  files: { test: ["AQuA/test.json", "AQuA/test.jsonl"], train: ["AQuA/train.json", "AQuA/train.jsonl"] },
  rows: 254,
  sources: llmAdapters("AQuA"),
  read: (path) => readForms(path, [instructionForm(parse), published]),
};
