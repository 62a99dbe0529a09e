/** Decoding token by token: sequences join when pages are free, and leave when they end. */
import { Random } from "../random/index.ts";
import type { IdsSequence, OwnedRequest } from "./ids-request.ts";
import type { FinishReason } from "./language-model.ts";
import {
  applyProcessors,
  argmax,
  type Draw,
  drawFor,
  logSoftmax,
  type Processor,
  processorsFor,
  sample,
} from "./logits.ts";
import type { PagedForward, Row } from "./paged-forward.ts";
import type { PageAllocator } from "./pages.ts";
import { entryOrder, type PagedSequence, PrefixTrail } from "./prefix-trail.ts";

/** What a run needs of its generator. */
export interface RunContext {
  readonly forward: PagedForward;
  readonly pages: PageAllocator;
  readonly vocabSize: number;
  readonly signal: AbortSignal | undefined;
  /** Called with the sequences of a request as soon as it has all of them. */
  readonly finish: (request: OwnedRequest, sequences: IdsSequence[]) => void;
}

/** One of the sequences of a request while it runs. */
interface Running {
  readonly request: OwnedRequest;
  /** Several sequences of one request are independent samples, told apart by their stream. */
  readonly copy: number;
  readonly sequence: PagedSequence;
  readonly newIds: number[];
  readonly logprobs: number[];
  readonly random: Random;
  readonly processors: readonly Processor[];
}

type End = (state: Running, reason: FinishReason) => void;

/** Runs requests that do not search with beams. All of them must be able to stand in one pass. */
export async function decode(requests: readonly OwnedRequest[], context: RunContext): Promise<void> {
  const { forward, pages, signal, finish } = context;
  const { pageSize, maxSequences } = forward.options;
  const copies = requests.flatMap((request) =>
    Array.from({ length: request.numReturnSequences ?? 1 }, (_, copy) => {
      const length = request.promptIds.length + request.maxNewTokens;
      return { request, copy, owner: request.adapter, ids: request.promptIds, length };
    }),
  );
  const done = new Map<OwnedRequest, { readonly sequences: IdsSequence[]; left: number }>();
  for (const request of requests) done.set(request, { sequences: [], left: request.numReturnSequences ?? 1 });
  const waiting = entryOrder(copies, pageSize).map((i) => copies[i]!);
  const trail = new PrefixTrail(pages, pageSize);
  let running: Running[] = [];
  const put = ({ request, copy }: Pick<Running, "request" | "copy">, result: IdsSequence): void => {
    const entry = done.get(request)!;
    entry.sequences[copy] = result;
    if (--entry.left === 0) finish(request, entry.sequences);
  };
  const end: End = (state, finishReason) => {
    state.sequence.release(pages);
    const { request, newIds: ids, logprobs } = state;
    put(state, { ids, finishReason, ...(request.logprobs ? { logprobs } : {}) });
  };
  try {
    for (let next = 0; next < waiting.length || running.length > 0;) {
      signal?.throwIfAborted();
      while (next < waiting.length && running.length < maxSequences) {
        const entrant = waiting[next]!;
        const { request, copy } = entrant;
        if (request.maxNewTokens === 0) {
          put(entrant, { ids: [], finishReason: "length", ...(request.logprobs ? { logprobs: [] } : {}) });
          next++;
          continue;
        }
        // Room for all it may ever need is reserved on entry, so nothing is ever taken back.
        const sequence = trail.enter(entrant, entrant.length, running.length === 0);
        if (!sequence) break;
        next++;
        const random = new Random(request.seed ?? 0, copy);
        const processors = processorsFor(request, request.promptIds.filter((id) => id >= 0).length);
        running.push({ request, copy, sequence, newIds: [], logprobs: [], random, processors });
      }
      if (running.length > 0) await step(running, context, end);
      running = running.filter(({ sequence }) => sequence.pages.length > 0);
    }
  } finally {
    trail.clear();
    for (const { sequence } of running) sequence.release(pages);
  }
}

/** One pass: a token of every sequence that is past its prompt, and chunks of prompts as far as rows last. */
async function step(running: readonly Running[], { forward, vocabSize }: RunContext, end: End): Promise<void> {
  const rows: Row[] = [];
  const wanted: { readonly state: Running; readonly draw: Draw | undefined }[] = [];
  for (const [number, state] of running.entries()) {
    const { sequence } = state;
    if (!sequence.isReady) continue;
    const { ids, cached } = sequence;
    const count = Math.min(ids.length - cached, forward.options.maxRows - rows.length);
    for (let position = cached; position < cached + count; position++) {
      const isWanted = position === ids.length - 1;
      const draw = isWanted ? drawFor(state.request, state.random) : undefined;
      rows.push({ id: ids[position]!, position, sequence: number, isWanted, draw });
      if (isWanted) wanted.push({ state, draw });
    }
    sequence.cached += count;
  }
  // Only what needs the host's processors brings its logits back.
  const { ids, logprobs, logits, errors } = await forward.next(
    rows,
    running.map(({ sequence }) => sequence.pages),
    running.map(({ request }) => request.adapter),
    wanted.some(({ draw }) => draw === undefined),
  );
  for (const error of errors.values()) throw error;
  for (const [i, { state, draw }] of wanted.entries()) {
    const own = draw ? undefined : logits!.subarray(i * vocabSize, (i + 1) * vocabSize);
    const id = own ? choose(state, own) : ids[i]!;
    extend(state, id, own ? logSoftmax(own)[id]! : logprobs[i]!, end);
  }
}

function choose({ processors, sequence, request, random }: Running, logits: Float32Array): number {
  const scores = Float64Array.from(logits);
  applyProcessors(processors, scores, sequence.ids);
  return request.temperature ? sample(scores, random) : argmax(scores);
}

function extend(state: Running, id: number, logprob: number, end: End): void {
  const { request, sequence, newIds, copy } = state;
  sequence.ids.push(id);
  newIds.push(id);
  if (request.logprobs) state.logprobs.push(logprob);
  if (request.eos.has(id) || request.shouldStop?.(newIds, copy)) end(state, "stop");
  else if (newIds.length >= request.maxNewTokens) end(state, "length");
}
