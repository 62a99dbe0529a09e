/** The families of LLM-Adapters' tasks: numbers in free text, an option's letter, a word out of a few. */
import type { Dataset } from "./dataset.ts";
import type { ChoiceDoc, InstructionDoc } from "./doc.ts";
import {
  equalFixed,
  equalNumbers,
  firstLetter,
  firstOf,
  lastNumber,
  statedNumber,
  statedOption,
  statedWord,
} from "./extract/index.ts";
import { goldScoring, type Ranking, rankingScoring } from "./likelihood.ts";
import { SHOT_DELIMITER } from "./shots.ts";
import type { Scoring, Task } from "./task.ts";

interface Own<D extends InstructionDoc> {
  readonly name: string;
  readonly summary: string;
  readonly dataset: Dataset<D>;
}

/** How answers are read in one mode. */
export interface Reading<D> {
  extract(response: string, doc: D): string;
  isCorrect(extracted: string, doc: D): boolean;
}

const isAnswer = (found: string, doc: InstructionDoc): boolean => found === doc.answer;

/** evaluate.py: beam 4, up to 256 new tokens, the last number counts. */
export function arithmeticTask(own: Own<InstructionDoc>): Task<InstructionDoc> {
  const solution = (doc: InstructionDoc) => doc.output.trim() || `The answer is ${doc.answer}.`;
  return {
    ...own,
    version: 2,
    groups: ["arithmetic"],
    target: (doc) => doc.answer,
    scorings: {
      ...generations({ paper: paperNumbers, fixed: fixedNumbers, maxNewTokens: 256, solution }),
      loglikelihood: goldScoring(
        (doc) => ({ context: `Question: ${questionOf(doc)}\nAnswer:`, continuation: ` ${doc.answer}` }),
        (doc, template) => ({ context: template.prompt(doc), continuation: template.separator + solution(doc) }),
      ),
    },
  };
}

/** evaluate.py for AQuA: the first capital A to E anywhere in the response counts. */
export function optionTask(own: Own<ChoiceDoc>): Task<ChoiceDoc> {
  const solution = (doc: ChoiceDoc) => doc.output.trim() || `The answer is (${doc.answer}).`;
  const paper: Reading<ChoiceDoc> = {
    extract: (response) => firstLetter(paperResponse(response)),
    isCorrect: isAnswer,
  };
  const fixed: Reading<ChoiceDoc> = {
    extract: (response, doc) => statedOption(response, doc.labels, doc.choices),
    isCorrect: isAnswer,
  };
  return {
    ...own,
    version: 2,
    groups: ["arithmetic"],
    target: (doc) => doc.answer,
    scorings: {
      ...generations({ paper, fixed, maxNewTokens: 256, solution }),
      loglikelihood: rankingScoring(
        rankChoices,
        rankStatements((label) => `The answer is (${label}).`),
      ),
    },
  };
}

export interface ChoiceTaskOptions extends Own<ChoiceDoc> {
  /** All words that commonsense_evaluate.py looks for in this data set, in its order. */
  readonly words: readonly string[];
  /** What lm-evaluation-harness ranks; default: the choices' texts after the question. */
  readonly ranking?: (doc: ChoiceDoc) => Ranking;
}

/** commonsense_evaluate.py: beam 4, up to 32 new tokens, the first of the words counts. */
export function choiceTask({ words, ranking = rankChoices, ...own }: ChoiceTaskOptions): Task<ChoiceDoc> {
  const state = (label: string) => `the correct answer is ${label}`;
  const solution = (doc: ChoiceDoc) => state(doc.answer);
  const first = firstOf(words);
  const paper: Reading<ChoiceDoc> = { extract: (response) => first(paperResponse(response)), isCorrect: isAnswer };
  const fixed: Reading<ChoiceDoc> = {
    extract: (response, doc) => statedWord(response, doc.labels, doc.choices),
    isCorrect: isAnswer,
  };
  return {
    ...own,
    version: 2,
    groups: ["commonsense"],
    target: (doc) => doc.answer,
    scorings: {
      ...generations({ paper, fixed, maxNewTokens: 32, solution }),
      loglikelihood: rankingScoring(ranking, rankStatements(state)),
    },
  };
}

/** What evaluate.py reads answers from: the text up to the next "### Response:". */
const paperResponse = (text: string): string => text.split("### Response:")[0]!;

const paperNumbers: Reading<InstructionDoc> = {
  extract: (response) => lastNumber(paperResponse(response)),
  isCorrect: (found, doc) => equalNumbers(found, doc.answer),
};
const fixedNumbers: Reading<InstructionDoc> = {
  extract: statedNumber,
  isCorrect: (found, doc) => equalFixed(found, doc.answer),
};

export interface GenerationOptions<D extends InstructionDoc> extends Reading<D> {
  readonly template: string;
  readonly numBeams: number;
  readonly maxNewTokens: number;
  /** A solved problem's response, for few-shot prompts. */
  solution(doc: D): string;
}

interface Readings<D extends InstructionDoc> extends Pick<GenerationOptions<D>, "maxNewTokens" | "solution"> {
  readonly paper: Reading<D>;
  readonly fixed: Reading<D>;
}

/** The paper's way, in its evaluation scripts' prompt and with its beams, and the repaired one, in the training prompt. */
function generations<D extends InstructionDoc>({ paper, fixed, ...own }: Readings<D>) {
  return {
    paper: generationScoring({ ...own, ...paper, template: "paper-eval", numBeams: 4 }),
    fixed: generationScoring({ ...own, ...fixed, template: "paper", numBeams: 1 }),
  };
}

/** One response for each doc, judged by what it says. */
export function generationScoring<D extends InstructionDoc>(options: GenerationOptions<D>): Scoring<D> {
  const { template, numBeams, maxNewTokens } = options;
  return {
    metrics: ["acc"],
    template,
    maxNewTokens,
    numBeams,
    questions(doc, { template: around, shots }) {
      if (!around) throw new TypeError("a question needs its template");
      // Beams that end early are not the paper's: there the response is cut when it is whole.
      const stop = numBeams > 1 ? [] : around.stops;
      const solved = (shots as readonly D[]).map(
        (shot) => around.prompt(shot) + around.separator + options.solution(shot) + SHOT_DELIMITER,
      );
      const prompt = solved.join("") + around.prompt(doc);
      return [{ kind: "generate", prompt, maxNewTokens, numBeams, stop }];
    },
    judge(doc, [answer]) {
      if (answer?.kind !== "generate") throw new TypeError("a response was asked for");
      const found = options.extract(answer.texts[0]!, doc);
      return { filtered: [found], values: { acc: options.isCorrect(found, doc) ? 1 : 0 } };
    },
  };
}

/** The choices' texts after the question: lm-evaluation-harness's prompt of ARC, PIQA and MathQA. */
export function rankChoices(doc: ChoiceDoc): Ranking {
  return choicesAfter(`Question: ${doc.question}\nAnswer:`, doc);
}

export function choicesAfter(context: string, { choices, labels, answer }: ChoiceDoc): Ranking {
  return {
    contexts: context,
    continuations: choices.map((choice) => ` ${choice}`),
    choices,
    gold: labels.indexOf(answer),
  };
}

/** The statements that an adapter learns, after its own prompt. */
export function rankStatements(state: (label: string) => string) {
  return (doc: ChoiceDoc, template: { prompt(doc: ChoiceDoc): string; readonly separator: string }): Ranking => ({
    contexts: template.prompt(doc),
    continuations: doc.labels.map((label) => template.separator + state(label)),
    choices: doc.labels.map(state),
    gold: doc.labels.indexOf(doc.answer),
  });
}

/** The problem without a template around it. */
function questionOf({ instruction, input }: InstructionDoc): string {
  return [instruction, input].filter(Boolean).join("\n").trim();
}
