/** Models that know the docs they are asked about. */
import type { GenerateRequest, LanguageModel } from "@graft/core/generate";

export interface Says {
  /** Texts for a prompt about the doc with that number. */
  generate?(doc: number, request: GenerateRequest): string;
  /** ln p of each continuation of a doc, in the order asked; the doc's place among its continuations is `place`. */
  logprob?(doc: number, continuation: string, place: number): number;
}

export interface FakeModel extends LanguageModel {
  /** Prompts and continuations that were asked, with the doc's number. */
  readonly asked: { readonly doc: number; readonly text: string }[];
}

/** Answers in the order that `order` gives, to show that nothing depends on it. */
export function fakeModel(
  says: Says,
  name = "fake",
  order: (count: number) => number[] = (n) => [...Array(n).keys()],
): FakeModel {
  const asked: FakeModel["asked"] = [];
  const docOf = (request: { name?: string | undefined }) => Number(/row (\d+)$/.exec(request.name!)![1]) - 1;
  return {
    name,
    asked,
    async generate(requests, { signal, onResult } = {}) {
      const results = requests.map((request) => {
        const doc = docOf(request);
        asked.push({ doc, text: String(request.prompt) });
        const text = says.generate!(doc, request);
        return { promptIds: [], cutTokens: 0, sequences: [{ ids: [], text, finishReason: "stop" as const }] };
      });
      for (const i of order(requests.length)) {
        signal?.throwIfAborted();
        onResult?.(i, results[i]!);
        // What was answered is judged before the next answer comes.
        await new Promise((resume) => setImmediate(resume));
      }
      return results;
    },
    async loglikelihood(requests, { signal, onResult } = {}) {
      const places = new Map<number, number>();
      const results = requests.map((request) => {
        const doc = docOf(request);
        const place = places.get(doc) ?? 0;
        places.set(doc, place + 1);
        asked.push({ doc, text: request.context + request.continuation });
        const logprob = says.logprob!(doc, request.continuation, place);
        return { logprob, tokenCount: 4, isGreedy: logprob > -1, cutTokens: 0 };
      });
      for (const i of order(requests.length)) {
        signal?.throwIfAborted();
        onResult?.(i, results[i]!);
        // What was answered is judged before the next answer comes.
        await new Promise((resume) => setImmediate(resume));
      }
      return results;
    },
  };
}
