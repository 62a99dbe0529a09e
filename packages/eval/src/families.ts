/** The two families of LLM-Adapters' tasks: numbers in free text, and a word out of a few. */
import { equalNumbers, equalText, firstOf, lastNumber } from "./extract.ts";
import type { Task } from "./task.ts";

type Own = Pick<Task, "name" | "summary" | "file">;

/** evaluate.py: beam 4, up to 256 new tokens, the last number counts. */
export function arithmeticTask(own: Own): Task {
  return {
    ...own,
    version: 1,
    template: "paper-eval",
    decoding: { maxNewTokens: 256, numBeams: 4 },
    target: (row) => row.answer ?? "",
    extract: lastNumber,
    isCorrect: equalNumbers,
  };
}

/** commonsense_evaluate.py: beam 4, up to 32 new tokens, the first of the words counts. */
export function choiceTask(own: Own & { readonly words: readonly string[] }): Task {
  const { words, ...rest } = own;
  return {
    ...rest,
    version: 1,
    template: "paper-eval",
    decoding: { maxNewTokens: 32, numBeams: 4 },
    target: (row) => row.answer ?? "",
    extract: firstOf(words),
    isCorrect: equalText,
  };
}
