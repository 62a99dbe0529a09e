/** One request as the engine works on it, and the events that its caller has not taken yet. */
import type { ConstraintMatcher } from "../generate/constraint.ts";
import {
  applyProcessors,
  argmax,
  type Draw,
  drawFor,
  type Processor,
  processorsFor,
  sample,
} from "../generate/index.ts";
import type { FinishReason } from "../generate/language-model.ts";
import { Random } from "../random/index.ts";
import type { StreamDecoder } from "../text/index.ts";
import type { Version } from "./adapter-version.ts";
import type { EngineEvent, EngineRequest, TokenLogprob } from "./engine.ts";
import type { Job } from "./scheduler.ts";
import { TextStream } from "./text-stream.ts";
import { tokenLogprob } from "./_token-logprob.ts";

export interface EngineJobOptions {
  readonly request: EngineRequest;
  /** Held by the request; undefined: the base. */
  readonly held: Version | undefined;
  readonly matcher: ConstraintMatcher | undefined;
  readonly decoder: StreamDecoder;
  readonly eosTokenIds: readonly number[];
  /** Time of arrival. */
  readonly now: number;
}

/** Why and with what a request ends. */
export interface JobEnd {
  readonly reason: FinishReason;
  /** Of the end token. */
  readonly logprob?: TokenLogprob;
}

export class EngineJob implements Job {
  readonly adapter: string;
  readonly version: string;
  group = "";
  readonly ids: number[];
  readonly virtualTokens: number;
  readonly promptLength: number;
  readonly maxLength: number;
  readonly deadline: number | undefined;

  readonly request: EngineRequest;
  readonly held: Version | undefined;
  isOver = false;
  #random: Random;
  #processors: readonly Processor[];
  #matcher: ConstraintMatcher | undefined;
  #text: TextStream;
  #eos: ReadonlySet<number>;
  /** By position in the prompt; undefined once they are given out. */
  #promptLogprobs: (TokenLogprob | null)[] | undefined;
  #events: EngineEvent[] = [];
  #error: unknown;
  #wake: () => void = () => undefined;

  constructor({ request, held, matcher, decoder, eosTokenIds, now }: EngineJobOptions) {
    const { promptIds, maxNewTokens, deadlineMs } = request;
    this.request = request;
    this.held = held;
    this.adapter = request.adapter ?? "";
    this.version = held?.id ?? "";
    this.virtualTokens = held?.info.virtualTokens ?? 0;
    this.promptLength = this.virtualTokens + promptIds.length;
    this.maxLength = this.promptLength + maxNewTokens;
    this.deadline = deadlineMs === undefined ? undefined : now + deadlineMs;
    // As virtualIdsOf() has them.
    this.ids = [...Array.from({ length: this.virtualTokens }, (_, v) => -(v + 1)), ...promptIds];
    this.#random = new Random(request.seed ?? 0);
    this.#processors = processorsFor(request, promptIds.length);
    this.#matcher = matcher;
    this.#text = new TextStream(decoder, request.stop);
    this.#eos = new Set(eosTokenIds);
    this.#promptLogprobs = request.promptLogprobs ? [null] : undefined;
  }

  /** The prompt's log-probabilities need the logits of all its tokens. */
  get mayReuse(): boolean {
    return this.#promptLogprobs === undefined;
  }

  /** Has it a new token already? */
  get isDecoding(): boolean {
    return this.ids.length > this.promptLength;
  }

  /** Is the token after this position one of the prompt whose log-probability is still to be told? */
  wantsPromptLogprob(position: number): boolean {
    return this.#promptLogprobs !== undefined && position >= this.virtualTokens && position < this.promptLength - 1;
  }

  notePromptLogprob(position: number, logits: Float32Array): void {
    const at = position + 1;
    this.#promptLogprobs![at - this.virtualTokens] = tokenLogprob(logits, this.ids[at]!, this.request.logprobs ?? 0);
  }

  /** How the device chooses the next token; undefined where that takes the logits. To be asked once for each token. */
  draw(): Draw | undefined {
    return this.#matcher ? undefined : drawFor(this.request, this.#random);
  }

  /** The next token, chosen on the host. Throws ConfigError where a constraint allows none. */
  choose(logits: Float32Array): number {
    const scores = Float64Array.from(logits);
    this.#matcher?.mask(scores);
    applyProcessors(this.#processors, scores, this.ids);
    return this.request.temperature ? sample(scores, this.#random) : argmax(scores);
  }

  /**
   * Takes the token that follows. given: the logits, or the log-probability of the id where no more is asked for. Returns why it has ended, if it has: finish() is then to be
   * called.
   */
  extend(id: number, given: Float32Array | number): JobEnd | undefined {
    const { maxNewTokens, logprobs } = this.request;
    if (this.#promptLogprobs) {
      this.#emit({ type: "prompt", logprobs: this.#promptLogprobs });
      this.#promptLogprobs = undefined;
    }
    if (maxNewTokens === 0) return { reason: "length" };
    const entry = (): { logprob?: TokenLogprob } => {
      if (logprobs === undefined) return {};
      return {
        logprob: typeof given === "number" ? { id, logprob: given, top: [] } : tokenLogprob(given, id, logprobs),
      };
    };
    if (this.#eos.has(id)) return { reason: "stop", ...entry() };
    this.ids.push(id);
    this.#matcher?.accept(id);
    this.#emit({ type: "token", id, text: this.#text.push(id), ...entry() });
    if (this.#text.isStopped || this.#matcher?.isComplete) return { reason: "stop" };
    return this.ids.length - this.promptLength >= maxNewTokens ? { reason: "length" } : undefined;
  }

  finish(end: JobEnd & { readonly cachedTokens: number }): void {
    this.isOver = true;
    const version = this.held ? { adapterVersion: this.held.id } : {};
    this.#emit({ type: "finish", text: this.#text.flush(), ...end, ...version });
  }

  fail(error: unknown): void {
    this.isOver = true;
    this.#error = error;
    this.#wake();
  }

  /** Events until it is over. Throws what it failed with. */
  async *events(): AsyncGenerator<EngineEvent> {
    for (;;) {
      yield* this.#events.splice(0);
      if (this.#events.length > 0) continue;
      if (this.#error !== undefined) throw this.#error;
      if (this.isOver) return;
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      await woken.promise;
    }
  }

  #emit(event: EngineEvent): void {
    this.#events.push(event);
    this.#wake();
  }
}
