/** A language model in the sense of evaluation: text in, text and numbers out. */
import type { AdapterWeights } from "../nn/index.ts";
import type { Tokenizer } from "../text/index.ts";
import type { Generator } from "./generator.ts";
import type { IdsSequence } from "./ids-request.ts";
import type {
  GeneratedSequence,
  GenerateRequest,
  GenerateResult,
  LanguageModel,
  LoglikelihoodRequest,
  LoglikelihoodResult,
} from "./language-model.ts";
import { stopCheck } from "./stop-check.ts";

export interface TextModelParts {
  readonly name: string;
  readonly generator: Generator;
  readonly tokenizer: Tokenizer;
  readonly weights: AdapterWeights | undefined;
}

export function createLanguageModel({ name, generator, tokenizer, weights }: TextModelParts): LanguageModel {
  const positions = generator.model.config.maxLength - (weights?.adapter.virtualTokens ?? 0);
  return {
    name,
    async generate(requests, options = {}) {
      const prompts = requests.map((request) => fitted(request, tokenizer, positions));
      const own = requests.map((request, i) => ({
        ...request,
        promptIds: prompts[i]!.promptIds,
        ...stopCheck(request.stop, tokenizer),
      }));
      const results: GenerateResult[] = [];
      await generator.generate(own, weights, {
        signal: options.signal,
        onResult(i, sequences) {
          results[i] = { ...prompts[i]!, sequences: sequences.map((s) => toText(s, requests[i]!, tokenizer)) };
          options.onResult?.(i, results[i]);
        },
      });
      return results;
    },
    async loglikelihood(requests, options = {}) {
      const lengths = new Map<string, number>();
      const pairs = requests.map((request) => fittedPair(request, tokenizer, positions, lengths));
      const results: LoglikelihoodResult[] = [];
      await generator.score(
        pairs.map((pair) => pair.ids),
        weights,
        {
          signal: options.signal,
          from: pairs.map((pair) => pair.contextLength),
          names: requests.map((request) => request.name),
          onResult(i, { logprobs, isGreedy }) {
            results[i] = {
              logprob: logprobs.reduce((sum, x) => sum + x, 0),
              tokenCount: logprobs.length,
              isGreedy: isGreedy.every(Boolean),
              cutTokens: pairs[i]!.cutTokens,
            };
            options.onResult?.(i, results[i]);
          },
        },
      );
      return results;
    },
  };
}

export function promptIds(prompt: string | readonly number[], tokenizer: Tokenizer): number[] {
  return typeof prompt === "string" ? tokenizer.encode(prompt, { addSpecialTokens: true }) : [...prompt];
}

/** A prompt that must be cut and cannot be, since the new tokens alone fill the model, stays as it is: the generator refuses it. */
function fitted(
  { prompt, truncation, maxNewTokens }: GenerateRequest,
  tokenizer: Tokenizer,
  maxLength: number,
): { promptIds: number[]; cutTokens: number } {
  const ids = promptIds(prompt, tokenizer);
  const room = maxLength - maxNewTokens;
  const cutTokens = truncation === "left" && room > 0 ? Math.max(0, ids.length - room) : 0;
  return { promptIds: ids.slice(cutTokens), cutTokens };
}

interface Pair {
  readonly ids: number[];
  /** Of them those that are given, at least one. */
  readonly contextLength: number;
}

/**
 * A pair that the model holds, as lm-evaluation-harness cuts it: the last maxLength + 1 ids, since nothing follows the last one. Of a continuation that is longer than the
 * model its end is scored. Without truncation a pair stays as it is: the generator refuses it.
 */
function fittedPair(
  request: LoglikelihoodRequest,
  tokenizer: Tokenizer,
  maxLength: number,
  lengths: Map<string, number>,
): Pair & { readonly cutTokens: number } {
  const { ids, contextLength } = encodePair(request, tokenizer, lengths);
  const cutTokens = request.truncation === "left" ? Math.max(0, ids.length - maxLength - 1) : 0;
  return { ids: ids.slice(cutTokens), contextLength: Math.max(1, contextLength - cutTokens), cutTokens };
}

/**
 * Context and continuation as lm-evaluation-harness splits them: blanks at the end of the context belong to the continuation, and the ids of the whole text
 * are cut where those of the context end. lengths: tokens of contexts already seen, since the choices of a question share theirs.
 */
function encodePair(
  { context, continuation }: LoglikelihoodRequest,
  tokenizer: Tokenizer,
  lengths: Map<string, number>,
): Pair {
  const blanks = context.length - context.trimEnd().length;
  const head = blanks > 0 ? context.slice(0, -blanks) : context;
  const tail = blanks > 0 ? context.slice(-blanks) + continuation : continuation;
  if (head === "") {
    const start = tokenizer.bosId ?? tokenizer.eosId;
    const ids = tokenizer.encode(tail, { addSpecialTokens: false });
    return start === undefined ? { ids, contextLength: 1 } : { ids: [start, ...ids], contextLength: 1 };
  }
  const ids = tokenizer.encode(head + tail, { addSpecialTokens: true });
  const contextLength = lengths.get(head) ?? tokenizer.encode(head, { addSpecialTokens: true }).length;
  lengths.set(head, contextLength);
  return { ids, contextLength };
}

function toText(sequence: IdsSequence, { stop }: GenerateRequest, tokenizer: Tokenizer): GeneratedSequence {
  const whole = tokenizer.decode(sequence.ids);
  const cuts = (stop ?? [])
    .filter((text) => text !== "")
    .flatMap((text) => (whole.includes(text) ? [whole.indexOf(text)] : []));
  const text = cuts.length > 0 ? whole.slice(0, Math.min(...cuts)) : whole;
  return { ...sequence, text };
}
