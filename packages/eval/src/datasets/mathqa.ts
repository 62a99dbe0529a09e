import { z } from "zod";
import type { Dataset } from "../dataset.ts";
import type { ChoiceDoc, InstructionDoc } from "../doc.ts";
import { instructionDoc } from "./_arithmetic.ts";
import { form, instructionForm, readForms } from "./_forms.ts";
import { letterDoc, optionsAt, splitAtHeading } from "./_letters.ts";
import { llmAdapters } from "./_sources.ts";

const HEADING = " The options: ";

/** {Problem, options: "a ) 38 , b ) 27.675 , ...", correct: "a"}. LLM-Adapters writes every a to f of the options as a capital, in their words too. */
const published = form(
  z.object({ Problem: z.string(), options: z.string(), correct: z.string() }),
  ({ Problem, options, correct }) =>
    parse(
      instructionDoc(
        `${Problem}${HEADING}${options.replaceAll(/[a-f]/g, (letter) => letter.toUpperCase())}`,
        correct.toUpperCase(),
      ),
    ),
);

/** The choices are the published ones: MathQA is all in small letters. */
function parse(doc: InstructionDoc): ChoiceDoc {
  const [question, list] = splitAtHeading(doc.instruction, HEADING);
  // Some rows have the list as Python prints it: ['a ) 16 : 9', 'b ) 7 : 9'].
  const plain = /^\[.*\]$/s.test(list) ? list.slice(2, -2).replaceAll(/['"], ['"](?=[A-E] \) )/g, " , ") : list;
  // Others name each option twice: "A ) A ) 2 , B ) B ) 5".
  const once = plain.replaceAll(/(^| , )([A-E] \) )\2/g, "$1$2");
  const options = optionsAt(once, (letter, place) => `${place === 0 ? "" : " , "}${letter} ) `);
  return letterDoc(
    doc,
    question,
    options?.map((option) => option.replaceAll(/[A-F]/g, (letter) => letter.toLowerCase())),
    "The options: A ) 1 , B ) 2 , C ) 3 , D ) 4 , E ) 5",
  );
}

export const mathqa: Dataset<ChoiceDoc> = {
  name: "mathqa",
  summary: "word problems, five options",
  licence: "Apache-2.0",
  citation: "Amini et al. 2019, arXiv:1905.13319",
  files: { test: ["mathqa/test.json"], train: ["mathqa/train.json"] },
  rows: 2985,
  sources: llmAdapters("mathqa"),
  read: (path) => readForms(path, [instructionForm(parse), published]),
};
