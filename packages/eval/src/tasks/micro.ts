/** The micro world's own tasks, on files that come with Graft. */
import { equalNumbers, equalText, firstOf, lastNumber } from "../extract.ts";
import type { Task } from "../task.ts";

const common = {
  version: 1,
  template: "micro",
  decoding: { maxNewTokens: 24, numBeams: 1 },
  target: (row) => row.answer ?? "",
} satisfies Partial<Task>;

export const microMath: Task = {
  ...common,
  name: "micro-math",
  summary: "word problems of the micro world",
  file: "micro-math-test.json",
  // The base goes on with stories full of numbers: only a stated answer counts.
  extract: (response) => lastNumber(/The answer is (-?[\d.,]+)/.exec(response)?.[1] ?? ""),
  isCorrect: equalNumbers,
};

export const microCommon: Task = {
  ...common,
  name: "micro-common",
  summary: "true or false and multiple choice in the micro world",
  file: "micro-common-test.json",
  extract: (response) =>
    firstOf(["true", "false", "answer1", "answer2"])(/The correct answer is (\w+)/.exec(response)?.[1] ?? ""),
  isCorrect: equalText,
};
