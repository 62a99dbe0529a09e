/** Scoring by log-likelihood, as lm-evaluation-harness does: nothing is generated. */
import type { PromptTemplate } from "@graft/core/data";
import type { Doc } from "./doc.ts";
import { SHOT_DELIMITER } from "./shots.ts";
import type { Answer, Scoring } from "./task.ts";

/** Texts that may follow a context, each with its own context where the choice stands in the middle of a sentence. */
export interface Ranking {
  readonly contexts: string | readonly string[];
  /** With the blank in front. */
  readonly continuations: readonly string[];
  /** What each is worth per character of; lm-evaluation-harness counts the choice without the blank. */
  readonly choices: readonly string[];
  readonly gold: number;
}

type InTemplate<D, T> = (doc: D, template: PromptTemplate) => T;

/**
 * acc: the gold choice has the highest log-probability; acc_norm: the highest per character (code points, as Python's len). Of equals the first counts.
 * `inTemplate` is asked where the caller names a prompt template.
 */
export function rankingScoring<D extends Doc>(
  rankingOf: (doc: D) => Ranking,
  inTemplate: InTemplate<D, Ranking>,
  template?: string,
): Scoring<D> {
  const of = (doc: D, around: PromptTemplate | undefined) => (around ? inTemplate(doc, around) : rankingOf(doc));
  return {
    metrics: ["acc", "acc_norm"],
    ...(template === undefined ? {} : { template }),
    questions(doc, { template: around, shots }) {
      const solved = (shots as readonly D[]).map((shot) => {
        const { contexts, continuations, gold } = of(shot, around);
        return contextAt(contexts, gold) + continuations[gold]! + SHOT_DELIMITER;
      });
      const { contexts, continuations } = of(doc, around);
      return continuations.map((continuation, i) => ({
        kind: "loglikelihood",
        context: solved.join("") + contextAt(contexts, i),
        continuation,
      }));
    },
    judge(doc, answers, _services, { template: around }) {
      const { choices, gold } = of(doc, around);
      const logprobs = answers.map(logprobOf);
      const perCharacter = logprobs.map((logprob, i) => logprob / Math.max(1, [...choices[i]!].length));
      return {
        // The harness's target of a ranking is a number.
        target: String(gold),
        values: { acc: first(logprobs) === gold ? 1 : 0, acc_norm: first(perCharacter) === gold ? 1 : 0 },
      };
    },
  };
}

/** acc: greedy decoding would give the gold answer; perplexity of its tokens. Where there are no choices to rank. */
export function goldScoring<D extends Doc>(
  textOf: (doc: D) => { readonly context: string; readonly continuation: string },
  inTemplate: InTemplate<D, { readonly context: string; readonly continuation: string }>,
  template?: string,
): Scoring<D> {
  const of = (doc: D, around: PromptTemplate | undefined) => (around ? inTemplate(doc, around) : textOf(doc));
  return {
    metrics: ["acc", "perplexity"],
    ...(template === undefined ? {} : { template }),
    questions(doc, { template: around, shots }) {
      const solved = (shots as readonly D[]).map((shot) => {
        const { context, continuation } = of(shot, around);
        return context + continuation + SHOT_DELIMITER;
      });
      const { context, continuation } = of(doc, around);
      return [{ kind: "loglikelihood", context: solved.join("") + context, continuation }];
    },
    judge(_doc, [answer]) {
      if (answer?.kind !== "loglikelihood") throw new TypeError("a log-likelihood was asked for");
      return { values: { acc: answer.isGreedy ? 1 : 0, perplexity: [answer.logprob, answer.tokenCount] } };
    },
  };
}

const contextAt = (contexts: Ranking["contexts"], i: number): string =>
  typeof contexts === "string" ? contexts : contexts[i]!;

function logprobOf(answer: Answer): number {
  if (answer.kind !== "loglikelihood") throw new TypeError("a log-likelihood was asked for");
  return answer.logprob;
}

/** Number of the largest; of equals the first, as numpy's argmax. */
const first = (values: readonly number[]): number => values.indexOf(Math.max(...values));
