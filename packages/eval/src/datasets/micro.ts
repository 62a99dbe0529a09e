/** The micro world's problems, which come with Graft. */
import { DataError } from "@graft/core/errors";
import type { Dataset } from "../dataset.ts";
import type { ChoiceDoc, InstructionDoc } from "../doc.ts";
import { instructionForm, readForms } from "./_forms.ts";
import { splitAtMarks } from "./_marks.ts";

const own = { licence: "MIT", citation: "this repository, scripts/micro", sources: [] };
const ASKED = " Answer true or false.";

export const microMath: Dataset<InstructionDoc> = {
  ...own,
  name: "micro-math",
  summary: "word problems of the micro world",
  files: { test: ["micro-math-test.json"], train: ["micro-math-train.json"] },
  rows: 200,
  read: (path) => readForms(path, [instructionForm((doc) => doc)]),
};

export const microCommon: Dataset<ChoiceDoc> = {
  ...own,
  name: "micro-common",
  summary: "true or false and multiple choice in the micro world",
  files: { test: ["micro-common-test.json"], train: ["micro-common-train.json"] },
  rows: 100,
  read: (path) => readForms(path, [instructionForm(withChoices)]),
};

/** "... answer1: It is red. answer2: It is blue.", or "... Answer true or false." */
function withChoices(doc: InstructionDoc): ChoiceDoc {
  const { instruction, answer } = doc;
  const listed = splitAtMarks(instruction, [" answer1: ", " answer2: "]);
  if (!listed && !instruction.endsWith(ASKED))
    throw new DataError('field "instruction" lists no answer1 and answer2, and does not ask for true or false');
  const labels = listed ? ["answer1", "answer2"] : ["true", "false"];
  if (!labels.includes(answer))
    throw new DataError(`field "answer" is ${JSON.stringify(answer)}, none of ${labels.join(", ")}`);
  return listed
    ? { ...doc, question: listed.before, choices: listed.parts, labels }
    : { ...doc, question: instruction.slice(0, -ASKED.length), choices: labels, labels };
}
