/** Problems with listed answers: how LLM-Adapters words them, and the way back. */
import { DataError } from "@graft/core/errors";
import type { Dataset } from "../dataset.ts";
import type { ChoiceDoc, InstructionDoc } from "../doc.ts";
import { type Form, instructionForm, readForms } from "./_forms.ts";
import { splitAtMarks } from "./_marks.ts";

export interface Wording {
  /** What stands before the question. */
  readonly opening: string;
  /** "answer", "solution", "ending" or "option": answers are called answer1, answer2, ... */
  readonly word: string;
  /** Between two answers, and between the last one and the answer format. */
  readonly between: string;
  readonly beforeFormat: string;
}

export interface Problem {
  readonly question: string;
  readonly choices: readonly string[];
  /** The right choice, from 0. */
  readonly gold: number;
}

type Own = Omit<Dataset<ChoiceDoc>, "read"> & {
  readonly wording: Wording;
  /** The form of its authors; the path is the file's, for labels that stand beside it. */
  published(path: string): Form<ChoiceDoc>;
};

/** A data set of rows in LLM-Adapters' wording or as `published`. */
export function choiceDataset({ wording, published, ...own }: Own): Dataset<ChoiceDoc> {
  return {
    ...own,
    read: (path) => readForms(path, [instructionForm((doc) => parseChoices(wording, doc)), published(path)]),
  };
}

/** "Please choose the correct answer to the question: ", with answer1, answer2, ... */
export const answersWording: Wording = {
  opening: "Please choose the correct answer to the question: ",
  word: "answer",
  between: " ",
  beforeFormat: "\n\n",
};

/** The doc that LLM-Adapters' wording of a problem is. */
export function wordChoices(wording: Wording, { question, choices, gold }: Problem): ChoiceDoc {
  const labels = choices.map((_, i) => `${wording.word}${i + 1}`);
  const listed = choices.map((choice, i) => `${titled(labels[i]!)}: ${choice}`).join(wording.between);
  const answer = labels[gold]!;
  return {
    instruction: `${wording.opening}${question}\n\n${listed}${wording.beforeFormat}${FORMAT}${labels.join("/")}`,
    input: "",
    output: `the correct answer is ${answer}`,
    answer,
    question,
    choices,
    labels,
  };
}

/** Question, choices and labels out of such a row; blanks inside them stay. Throws DataError saying what is not as it should be. */
export function parseChoices({ opening, word, between, beforeFormat }: Wording, doc: InstructionDoc): ChoiceDoc {
  const { instruction, answer } = doc;
  const example = `${FORMAT}${word}1/${word}2`;
  const at = instruction.lastIndexOf(beforeFormat + FORMAT);
  if (at < 0) throw new DataError(`field "instruction" does not end in an answer format such as "${example}"`);
  const labels = instruction.slice(at + beforeFormat.length + FORMAT.length).split("/");
  if (labels.length < 2 || labels.some((label, i) => label !== `${word}${i + 1}`))
    throw new DataError(
      `field "instruction" ends in the answer format "${labels.join("/").slice(0, 60)}", not in one such as "${example}"`,
    );
  const marks = labels.map((label, i) => `${i === 0 ? "\n\n" : between}${titled(label)}: `);
  const list = splitAtMarks(instruction.slice(0, at), marks);
  if (!list) throw new DataError(`field "instruction" does not list ${labels.map(titled).join(", ")}`);
  if (!labels.includes(answer))
    throw new DataError(`field "answer" is ${JSON.stringify(answer)}, none of ${labels.join(", ")}`);
  const { before, parts } = list;
  const question = before.startsWith(opening) ? before.slice(opening.length) : before;
  return { ...doc, question, choices: parts, labels };
}

/** The place of a published label among `count` choices, from 0; labels count from `first`. Throws DataError, also for the empty labels of hidden test sets. */
export function goldOf(label: string | number, first: 0 | 1, count: number): number {
  const gold = /^\d+$/.test(String(label)) ? Number(label) - first : -1;
  if (gold < 0 || gold >= count)
    throw new DataError(`the label ${JSON.stringify(label)} is none from ${first} to ${first + count - 1}`);
  return gold;
}

const FORMAT = "Answer format: ";
const titled = (label: string): string => label[0]!.toUpperCase() + label.slice(1);
