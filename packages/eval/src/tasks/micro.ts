/** The micro world's own tasks, on files that come with Graft. */
import { microCommon as commonDataset, microMath as mathDataset } from "../datasets/micro.ts";
import type { ChoiceDoc, InstructionDoc } from "../doc.ts";
import { equalFixed, equalNumbers, firstOf, lastNumber, statedNumber } from "../extract/index.ts";
import { generationScoring, rankStatements } from "../families.ts";
import { goldScoring, rankingScoring } from "../likelihood.ts";
import { findPromptTemplate } from "@graft/core/data";
import type { Task } from "../task.ts";

const common = { template: "micro", maxNewTokens: 24, solution: (doc: InstructionDoc) => doc.output };
const template = findPromptTemplate("micro");

const statedWord = firstOf(["true", "false", "answer1", "answer2"]);
const stateWord = rankStatements((label) => `The correct answer is ${label}.`);
const goldOf = (doc: InstructionDoc, around = template) => ({
  context: around.prompt(doc),
  continuation: around.separator + doc.output,
});

export const microMath: Task<InstructionDoc> = {
  name: "micro-math",
  version: 2,
  summary: "word problems of the micro world",
  groups: ["micro"],
  dataset: mathDataset,
  target: (doc) => doc.answer,
  scorings: {
    paper: generationScoring({
      ...common,
      numBeams: 4,
      extract: (response) => lastNumber(response.split(template.stops[0]!)[0]!),
      isCorrect: (found, doc) => equalNumbers(found, doc.answer),
    }),
    fixed: generationScoring({
      ...common,
      numBeams: 1,
      // The base goes on with stories full of numbers: only a stated answer counts.
      extract: (response) => statedNumber(/The answer is -?[\d.,]+/.exec(response)?.[0] ?? ""),
      isCorrect: (found, doc) => equalFixed(found, doc.answer),
    }),
    loglikelihood: goldScoring(goldOf, goldOf, "micro"),
  },
};

export const microCommon: Task<ChoiceDoc> = {
  name: "micro-common",
  version: 2,
  summary: "true or false and multiple choice in the micro world",
  groups: ["micro"],
  dataset: commonDataset,
  target: (doc) => doc.answer,
  scorings: {
    paper: generationScoring({
      ...common,
      numBeams: 4,
      extract: (response) => statedWord(response.split(template.stops[0]!)[0]!),
      isCorrect: (found, doc) => found === doc.answer,
    }),
    fixed: generationScoring({
      ...common,
      numBeams: 1,
      extract: (response) => statedWord(/The correct answer is (\w+)/.exec(response)?.[1] ?? ""),
      isCorrect: (found, doc) => found === doc.answer,
    }),
    loglikelihood: rankingScoring((doc) => stateWord(doc, template), stateWord, "micro"),
  },
};
