/** What a task is: docs of a data set, what a model is asked about each, and how its answers are judged. */
import type { GenerateOptions } from "@graft/core/generate";
import type { PromptTemplate } from "@graft/core/data";
import type { Dataset } from "./dataset.ts";
import type { Doc } from "./doc.ts";

/**
 * paper: LLM-Adapters' evaluation scripts, bug for bug: their prompt, beam 4, their extraction.
 * fixed: the training prompt, greedy, an extraction that reads what was meant.
 * loglikelihood: choices ranked by their log-probability, as lm-evaluation-harness does; where there are none, the gold answer's own.
 */
export const scoringNames = ["paper", "fixed", "loglikelihood"] as const;
export type ScoringName = (typeof scoringNames)[number];

export interface GenerateQuestion extends GenerateOptions {
  readonly kind: "generate";
  readonly prompt: string;
}

export interface LoglikelihoodQuestion {
  readonly kind: "loglikelihood";
  readonly context: string;
  readonly continuation: string;
}

export type Question = GenerateQuestion | LoglikelihoodQuestion;

/** What a model made of a question. */
export type Answer =
  /** One text for each returned sequence. */
  | { readonly kind: "generate"; readonly texts: readonly string[]; readonly cutTokens: number }
  | {
      readonly kind: "loglikelihood";
      readonly logprob: number;
      readonly tokenCount: number;
      readonly isGreedy: boolean;
      readonly cutTokens: number;
    };

/** A metric's value for one doc: a number, or the numbers that a metric over the whole data set needs of it. */
export type ItemValue = number | readonly number[];

export interface Judged {
  /** What was read out of each answer, "" where nothing was found; of a log-likelihood nothing is read. */
  readonly filtered?: readonly string[];
  /** The gold answer in this way of asking; default: the task's. */
  readonly target?: string;
  /** For who reads the samples: why it was judged so. */
  readonly detail?: string;
  /** By metric name (metrics.ts). */
  readonly values: Readonly<Record<string, ItemValue>>;
}

/** What asking depends on besides the doc. */
export interface AskContext {
  /** The prompt around an instruction; undefined where the scoring has none of its own and nobody named one. */
  readonly template: PromptTemplate | undefined;
  /** Docs that go before the question with their answers. */
  readonly shots: readonly Doc[];
}

/** What judging may need beyond the answers; there where the task `needs` it and it was allowed. */
export interface Services {
  /** Runs a program in a locked-down process of its own: code/run-program.ts. */
  readonly runProgram?: RunProgram | undefined;
  /** The model that judges, and where it is: results of another one are not these. */
  readonly judgeName?: string | undefined;
  /** Asks the model that judges. Returns its whole reply. `name` is what errors call the question. */
  readonly askJudge?:
    | ((
        messages: readonly ChatMessage[],
        ask: { readonly name: string; readonly signal?: AbortSignal | undefined },
      ) => Promise<string>)
    | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface ProgramOutcome {
  /** "failed": an exit code other than 0. */
  readonly state: "passed" | "failed" | "timed out" | "out of memory";
  /** The last lines of what it wrote, for the sample file. */
  readonly detail: string;
}

export type RunProgram = (source: string, signal?: AbortSignal) => Promise<ProgramOutcome>;

/** One way of asking and judging a task. */
export interface Scoring<D extends Doc = Doc> {
  /** Metrics of metrics.ts; the first one is the task's figure. */
  readonly metrics: readonly string[];
  /** Used where the caller names no template and the adapter brings none. */
  readonly template?: string;
  /** What its questions ask for at the most, so that room can be made. */
  readonly maxNewTokens?: number;
  readonly numBeams?: number;
  /** The questions about a doc. Prompts that are too long for the model are cut by the runner. */
  questions(doc: D, context: AskContext): readonly Question[];
  /** What is asked when those are answered: further turns. Called with all answers so far until it asks nothing more. */
  furtherQuestions?(doc: D, context: AskContext, answers: readonly Answer[]): readonly Question[];
  judge(doc: D, answers: readonly Answer[], services: Services, context: AskContext): Judged | Promise<Judged>;
}

export interface Task<D extends Doc = Doc> {
  readonly name: string;
  /** Raised when prompts, extraction or metric change: results of different versions are not compared. */
  readonly version: number;
  readonly summary: string;
  /** "arithmetic", "commonsense", ...: what --tasks may name instead. */
  readonly groups: readonly string[];
  readonly dataset: Dataset<D>;
  /** The gold answer as samples show it. */
  target(doc: D): string;
  readonly scorings: Readonly<Partial<Record<ScoringName, Scoring<D>>>>;
  /** What running it does beyond asking the model; refused unless it is allowed. */
  readonly needs?: "code-execution" | "judge";
}
