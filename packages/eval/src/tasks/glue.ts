/** GLUE (Wang et al. 2018, arXiv:1804.07461): sentences and pairs of them to put into classes. On the development sets: the test labels are secret. */
import { DataError } from "@graft/core/errors";
import type { Dataset } from "../dataset.ts";
import {
  cola as colaSet,
  type GlueDoc,
  mnli as mnliSet,
  mnliMismatched as mnliMismatchedSet,
  mrpc as mrpcSet,
  qnli as qnliSet,
  qqp as qqpSet,
  rte as rteSet,
  stsb as stsbSet,
  wnli as wnliSet,
} from "../datasets/glue.ts";
import type { InstructionDoc } from "../doc.ts";
import { statedNumber, statedWord } from "../extract/index.ts";
import { generationScoring } from "../families.ts";
import { rankingScoring } from "../likelihood.ts";
import type { Answer, AskContext, Task } from "../task.ts";

export interface GlueClass {
  /** In the data set's files. */
  readonly label: string;
  /** What a response calls it. */
  readonly word: string;
  /** What lm-evaluation-harness ranks. */
  readonly ranked: string;
}

export interface GlueTaskOptions {
  readonly name: string;
  readonly summary: string;
  readonly dataset: Dataset<GlueDoc>;
  /** By their numbers in GLUE: the positive class of two is the second. */
  readonly classes: readonly GlueClass[];
  /** acc, mcc, f1; the first one is the task's figure. */
  readonly metrics: readonly string[];
  /** The instruction before the list of words. */
  instruct(doc: GlueDoc): string;
  /** lm-evaluation-harness's prompt. */
  ask(doc: GlueDoc): string;
}

/** Where a response names no class, or no rating: equal to no gold value. T5's default too (Raffel et al. 2020, arXiv:1910.10683). */
const NONE = -1;
const TEMPLATE = "paper";
const MAX_NEW_TOKENS = 32;

/** A task whose answer is one of a few classes. Metrics over the whole set get [gold, predicted] as class numbers. */
export function glueTask(options: GlueTaskOptions): Task<GlueDoc> {
  const { name, summary, dataset, classes, metrics, instruct, ask } = options;
  const words = classes.map(({ word }) => word);
  const choices = classes.map(({ ranked }) => ranked);
  const classOf = ({ label }: GlueDoc): number => {
    const found = classes.findIndex((one) => one.label === label);
    if (found < 0)
      throw new DataError(`${name}: the label "${label}" is none of ${classes.map((one) => one.label).join(", ")}`);
    return found;
  };
  const rowOf = (doc: GlueDoc) => row(`${instruct(doc)}\n\nAnswer format: ${words.join("/")}`, words[classOf(doc)]!);
  const valuesOf = (gold: number, predicted: number) =>
    Object.fromEntries(
      metrics.map((metric) => [metric, metric === "acc" ? Number(gold === predicted) : [gold, predicted]]),
    );
  const ranking = rankingScoring<GlueDoc>(
    (doc) => ({
      contexts: ask(doc),
      continuations: choices.map((choice) => ` ${choice}`),
      choices,
      gold: classOf(doc),
    }),
    (doc, template) => ({
      contexts: template.prompt(rowOf(doc)),
      continuations: words.map((word) => template.separator + state(word)),
      choices: words.map(state),
      gold: classOf(doc),
    }),
  );
  return {
    name,
    version: 1,
    summary,
    groups: ["glue"],
    dataset,
    target: (doc) => words[classOf(doc)]!,
    scorings: {
      fixed: {
        ...statement(rowOf),
        metrics,
        judge(doc, [answer]) {
          const found = statedWord(textOf(answer), words);
          return { filtered: [found], values: valuesOf(classOf(doc), words.indexOf(found)) };
        },
      },
      loglikelihood: {
        ...ranking,
        metrics,
        judge(doc, answers) {
          const logprobs = answers.map(logprobOf);
          // Of equals the first, as numpy's argmax.
          return {
            target: String(classOf(doc)),
            values: valuesOf(classOf(doc), logprobs.indexOf(Math.max(...logprobs))),
          };
        },
      },
    },
  };
}

const state = (answer: string): string => `the correct answer is ${answer}`;

const row = (instruction: string, answer: string): InstructionDoc => ({ instruction, input: "", output: "", answer });

/** One short response, asked for as the commonsense tasks do. */
function statement(rowOf: (doc: GlueDoc) => InstructionDoc) {
  const { questions } = generationScoring<InstructionDoc>({
    template: TEMPLATE,
    numBeams: 1,
    maxNewTokens: MAX_NEW_TOKENS,
    solution: ({ answer }) => state(answer),
    extract: (response) => response,
    isCorrect: (found, { answer }) => found === answer,
  });
  return {
    template: TEMPLATE,
    maxNewTokens: MAX_NEW_TOKENS,
    questions: (doc: GlueDoc, { template, shots }: AskContext) =>
      questions(rowOf(doc), { template, shots: (shots as readonly GlueDoc[]).map(rowOf) }),
  };
}

function textOf(answer: Answer | undefined): string {
  if (answer?.kind !== "generate") throw new TypeError("a response was asked for");
  return answer.texts[0]!;
}

function logprobOf(answer: Answer): number {
  if (answer.kind !== "loglikelihood") throw new TypeError("a log-likelihood was asked for");
  return answer.logprob;
}

const trueOrFalse = (question: string): string =>
  `Please answer the following question with true or false, question: ${question}`;
const pair = ({ sentence1, sentence2 }: GlueDoc): string => `Sentence 1: ${sentence1}\nSentence 2: ${sentence2}`;
/** Two classes, the labels as GLUE's files have them. */
const binary = (no: Omit<GlueClass, "word">, yes: Omit<GlueClass, "word">): readonly GlueClass[] => [
  { ...no, word: "false" },
  { ...yes, word: "true" },
];
const zeroOne = binary({ label: "0", ranked: "no" }, { label: "1", ranked: "yes" });

export const cola = glueTask({
  name: "cola",
  summary: "is a sentence grammatical (Warstadt et al. 2019, arXiv:1805.12471)",
  dataset: colaSet,
  classes: zeroOne,
  metrics: ["mcc", "acc"],
  instruct: ({ sentence1 }) => trueOrFalse(`Is the following sentence grammatical English?\n\nSentence: ${sentence1}`),
  ask: ({ sentence1 }) => `${sentence1}\nQuestion: Does this sentence make sense?\nAnswer:`,
});

export const mrpc = glueTask({
  name: "mrpc",
  summary: "do two sentences from the news say the same (Dolan and Brockett 2005)",
  dataset: mrpcSet,
  classes: zeroOne,
  metrics: ["acc", "f1"],
  instruct: (doc) => trueOrFalse(`Do the following two sentences say the same?\n\n${pair(doc)}`),
  ask: (doc) => `${pair(doc)}\nQuestion: Do both sentences mean the same thing?\nAnswer:`,
});

const questions = ({ sentence1, sentence2 }: GlueDoc): string => `Question 1: ${sentence1}\nQuestion 2: ${sentence2}`;

export const qqp = glueTask({
  name: "qqp",
  summary: "do two questions from Quora ask the same",
  dataset: qqpSet,
  classes: zeroOne,
  metrics: ["acc", "f1"],
  instruct: (doc) => trueOrFalse(`Do the following two questions ask the same?\n\n${questions(doc)}`),
  ask: (doc) => `${questions(doc)}\nQuestion: Do both questions ask the same thing?\nAnswer:`,
});

const mnliTask = (own: Pick<GlueTaskOptions, "name" | "summary" | "dataset">) =>
  glueTask({
    ...own,
    classes: [
      { label: "entailment", word: "entailment", ranked: "True" },
      { label: "neutral", word: "neutral", ranked: "Neither" },
      { label: "contradiction", word: "contradiction", ranked: "False" },
    ],
    metrics: ["acc"],
    instruct: (doc) =>
      `Please decide how the second sentence stands to the first one: it follows (entailment), it cannot be true (contradiction), or neither (neutral).\n\n${pair(doc)}`,
    ask({ sentence1, sentence2 = "" }) {
      const hypothesis = sentence2.trim();
      return `${sentence1}\nQuestion: ${hypothesis}${hypothesis.endsWith(".") ? "" : "."} True, False or Neither?\nAnswer:`;
    },
  });

export const mnli = mnliTask({
  name: "mnli",
  summary:
    "does a sentence follow from another, texts of the kinds that were trained on (Williams et al. 2018, arXiv:1704.05426)",
  dataset: mnliSet,
});

export const mnliMismatched = mnliTask({
  name: "mnli_mismatch",
  summary: "does a sentence follow from another, texts of other kinds",
  dataset: mnliMismatchedSet,
});

/** lm-evaluation-harness's order, in which entailment is class 0. */
const entailment = (yes: string, no: string): readonly GlueClass[] =>
  binary({ label: "not_entailment", ranked: no }, { label: "entailment", ranked: yes }).toReversed();

export const qnli = glueTask({
  name: "qnli",
  summary: "does a sentence answer a question (from SQuAD, Rajpurkar et al. 2016, arXiv:1606.05250)",
  dataset: qnliSet,
  classes: entailment("yes", "no"),
  metrics: ["acc"],
  instruct: ({ sentence1, sentence2 }) =>
    trueOrFalse(`Does the sentence answer the question?\n\nQuestion: ${sentence1}\nSentence: ${sentence2}`),
  ask: ({ sentence1, sentence2 }) =>
    `${sentence1}\n${sentence2}\nQuestion: Does this response answer the question?\nAnswer:`,
});

const follows = (doc: GlueDoc): string =>
  trueOrFalse(`Does the second sentence follow from the first one?\n\n${pair(doc)}`);
const isTrue = ({ sentence1, sentence2 }: GlueDoc): string =>
  `${sentence1}\nQuestion: ${sentence2} True or False?\nAnswer:`;

export const rte = glueTask({
  name: "rte",
  summary: "does a sentence follow from a text (the RTE challenges, Dagan et al. 2006)",
  dataset: rteSet,
  classes: entailment("True", "False"),
  metrics: ["acc"],
  instruct: follows,
  ask: isTrue,
});

export const wnli = glueTask({
  name: "wnli",
  summary: "is a sentence right about a pronoun (the Winograd schemas, Levesque et al. 2011)",
  dataset: wnliSet,
  classes: binary({ label: "0", ranked: "False" }, { label: "1", ranked: "True" }),
  metrics: ["acc"],
  instruct: follows,
  ask: isTrue,
});

const MAX_RATING = 5;
const ratingRow = (doc: GlueDoc): InstructionDoc =>
  row(
    `Please rate how similar the following two sentences are in meaning, from 0 (nothing in common) to 5 (the same).\n\n${pair(doc)}\n\nAnswer format: a number from 0 to 5`,
    doc.label,
  );

/** Rated from 0 to 5 by people. lm-evaluation-harness does not have it: there are no choices to rank. */
export const stsb: Task<GlueDoc> = {
  name: "stsb",
  version: 1,
  summary: "how alike are two sentences (Cer et al. 2017, arXiv:1708.00055)",
  groups: ["glue"],
  dataset: stsbSet,
  target: ({ label }) => label,
  scorings: {
    fixed: {
      ...statement(ratingRow),
      metrics: ["pearson", "spearman"],
      judge({ label }, [answer]) {
        const found = statedNumber(textOf(answer));
        const rating = Number(found);
        const isRating = found !== "" && rating >= 0 && rating <= MAX_RATING;
        const values = [Number(label), isRating ? rating : NONE];
        return { filtered: [found], values: { pearson: values, spearman: values } };
      },
    },
  },
};
