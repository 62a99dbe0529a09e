/** Problems whose options A to E stand in the question. */
import { DataError } from "@graft/core/errors";
import type { ChoiceDoc, InstructionDoc } from "../doc.ts";
import { splitAtMarks } from "./_marks.ts";

export const letters = ["A", "B", "C", "D", "E"] as const;

/** The row with its question and options. Throws DataError if there are none, or the answer is none of the letters. */
export function letterDoc(
  doc: InstructionDoc,
  question: string,
  options: readonly string[] | undefined,
  example: string,
): ChoiceDoc {
  if (!options) throw new DataError(`field "instruction" does not end in five options such as "${example}"`);
  if (!letters.some((letter) => letter === doc.answer))
    throw new DataError(`field "answer" is ${JSON.stringify(doc.answer)}, none of A to E`);
  return { ...doc, question, choices: options.map((option) => option.trim()), labels: letters };
}

/** The five options that follow their marks in a list that has nothing before the first; undefined if they do not. */
export function optionsAt(
  list: string,
  markOf: (letter: string, place: number) => string,
): readonly string[] | undefined {
  const found = splitAtMarks(list, letters.map(markOf));
  return found?.before === "" ? found.parts : undefined;
}

/** Text before and behind the last `heading`. Throws DataError if it is not there. */
export function splitAtHeading(text: string, heading: string): readonly [before: string, behind: string] {
  const at = text.lastIndexOf(heading);
  if (at < 0) throw new DataError(`field "instruction" has no "${heading.trim()}"`);
  return [text.slice(0, at), text.slice(at + heading.length)];
}
