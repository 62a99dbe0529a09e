/** A language model in the sense of evaluation: text in, text and numbers out. */
import type { AdapterWeights } from "../nn/index.ts";
import type { Tokenizer } from "../text/index.ts";
import type { Generator, IdsSequence } from "./generator.ts";
import type {
  GeneratedSequence,
  GenerateRequest,
  GenerateResult,
  LanguageModel,
  LoglikelihoodRequest,
} from "./language-model.ts";

export interface TextModelParts {
  readonly name: string;
  readonly generator: Generator;
  readonly tokenizer: Tokenizer;
  readonly weights: AdapterWeights | undefined;
}

export function createLanguageModel({ name, generator, tokenizer, weights }: TextModelParts): LanguageModel {
  return {
    name,
    async generate(requests, options = {}) {
      const room = generator.model.config.maxLength - (weights?.adapter.virtualTokens ?? 0);
      const prompts = requests.map((request) => fitted(request, tokenizer, room));
      const own = requests.map((request, i) => ({
        ...request,
        promptIds: prompts[i]!.promptIds,
        ...stopCheck(request, tokenizer),
      }));
      const toResult = (i: number, sequences: readonly IdsSequence[]): GenerateResult => ({
        ...prompts[i]!,
        sequences: sequences.map((s) => toText(s, requests[i]!, tokenizer)),
      });
      const results = await generator.generate(own, weights, {
        signal: options.signal,
        onResult: (i, sequences) => options.onResult?.(i, toResult(i, sequences)),
      });
      return results.map((sequences, i) => toResult(i, sequences));
    },
    async loglikelihood(requests, options = {}) {
      const encoded = requests.map((request) => encodePair(request, tokenizer));
      const scored = await generator.score(
        encoded.map((pair) => pair.ids),
        weights,
        { signal: options.signal, from: encoded.map((pair) => pair.contextLength) },
      );
      return scored.map(({ logprobs, isGreedy }, i) => {
        const result = {
          logprob: logprobs.reduce((sum, x) => sum + x, 0),
          tokenCount: logprobs.length,
          isGreedy: isGreedy.every(Boolean),
        };
        options.onResult?.(i, result);
        return result;
      });
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

/**
 * Context and continuation as lm-evaluation-harness splits them: blanks at the end of the context belong to the continuation, and the ids of the whole text
 * are cut where those of the context end.
 */
function encodePair(
  { context, continuation }: LoglikelihoodRequest,
  tokenizer: Tokenizer,
): { ids: number[]; contextLength: number } {
  const blanks = context.length - context.trimEnd().length;
  const head = blanks > 0 ? context.slice(0, -blanks) : context;
  const tail = blanks > 0 ? context.slice(-blanks) + continuation : continuation;
  if (head === "") {
    const start = tokenizer.bosId ?? tokenizer.eosId;
    const ids = tokenizer.encode(tail, { addSpecialTokens: false });
    return start === undefined ? { ids, contextLength: 1 } : { ids: [start, ...ids], contextLength: 1 };
  }
  const whole = tokenizer.encode(head + tail, { addSpecialTokens: true });
  return { ids: whole, contextLength: tokenizer.encode(head, { addSpecialTokens: true }).length };
}

function stopCheck({ stop }: GenerateRequest, tokenizer: Tokenizer) {
  if (!stop || stop.length === 0) return {};
  const texts = stop.filter((text) => text !== "");
  return { shouldStop: (ids: readonly number[]) => texts.some((text) => tokenizer.decode(ids).includes(text)) };
}

function toText(sequence: IdsSequence, { stop }: GenerateRequest, tokenizer: Tokenizer): GeneratedSequence {
  const whole = tokenizer.decode(sequence.ids);
  const cuts = (stop ?? [])
    .filter((text) => text !== "")
    .flatMap((text) => (whole.includes(text) ? [whole.indexOf(text)] : []));
  const text = cuts.length > 0 ? whole.slice(0, Math.min(...cuts)) : whole;
  return { ...sequence, text };
}
