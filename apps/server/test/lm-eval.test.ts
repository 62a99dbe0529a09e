/**
 * lm-evaluation-harness drives the server: what it sent and what it made of the answers was written down (fixtures/lm-eval, made as docs/lm-evaluation-harness.md says) and is sent
 * again. The answers must have what it reads, where it reads it (its `local-completions` and its remote tokenizer), and give the same numbers.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { LanguageModel } from "@graft/core/generate";
import { loadTokenizer } from "@graft/core/text";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RunningServer } from "../src/index.ts";
import { microModel, openMicroModels, startMicroServer } from "./in-process.ts";

interface Body {
  readonly model: string;
  /** Texts go to the tokenizer, ids to completions. */
  readonly prompt: unknown;
  readonly tokens: number[];
  readonly echo?: boolean;
  readonly [field: string]: unknown;
}

interface Sample {
  readonly doc: { readonly choices: readonly string[]; readonly answer: number };
  readonly arguments: Record<string, { readonly arg_0: string; readonly arg_1?: unknown }>;
  readonly filtered_resps: readonly (string | [string, string])[];
  readonly [metric: string]: unknown;
}

interface Recording {
  readonly model_args: { readonly model: "graft-micro-llama" | "common"; readonly add_bos_token?: boolean };
  readonly requests: readonly { readonly method: string; readonly path: string; readonly body?: Body }[];
  readonly samples: Record<string, readonly Sample[]>;
  readonly results: Record<string, Record<string, unknown>>;
}

interface Choice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: {
    readonly tokens: string[];
    readonly token_logprobs: (number | null)[];
    readonly top_logprobs: (Record<string, number> | null)[];
    readonly text_offset: number[];
  } | null;
}

const read = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dir, "fixtures/lm-eval", name), "utf8")) as Recording;
const recordings = { "remote-tokenizer": read("remote-tokenizer.json"), "own-tokenizer": read("own-tokenizer.json") };
const tokenizer = loadTokenizer(microModel);
let server: RunningServer;
let micro: Awaited<ReturnType<typeof openMicroModels>>;
beforeAll(async () => {
  server = await startMicroServer();
  micro = await openMicroModels();
});
afterAll(async () => {
  await server.close();
  await micro.close();
});

const key = (ids: unknown) => JSON.stringify(ids);

/** Sends all of it. Gives the answers by prompt: of completions that were scored, and of those that were generated. */
async function replay({ requests }: Recording) {
  const scored = new Map<string, NonNullable<Choice["logprobs"]>>();
  const generated = new Map<string, string>();
  for (const { method, path, body } of requests) {
    const response = await fetch(server.url + path, {
      method,
      headers: { "content-type": "application/json", authorization: "Bearer " },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await response.text();
    expect([path, response.status, response.status === 200 ? "" : text]).toEqual([path, 200, ""]);
    const answer = JSON.parse(text) as { choices: Choice[]; tokens: number[] } & Record<string, unknown>;
    if (path === "/tokenizer_info")
      expect(answer).toMatchObject({ bos_token: "<s>", eos_token: "</s>", pad_token: "<pad>" });
    else if (path === "/tokenize")
      expect(answer.tokens).toEqual(tokenizer.encode(body!.prompt as string, { addSpecialTokens: false }));
    else {
      const prompts = body!.prompt as number[][];
      expect(answer.choices.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual([...prompts.keys()]);
      for (const { index, text, logprobs } of answer.choices) {
        if (logprobs) scored.set(key(prompts[index]), logprobs);
        else generated.set(key(prompts[index]), text);
      }
    }
  }
  return { scored, generated };
}

/** Prompt and context length that the harness makes of a pair. */
function pairOf(context: string, continuation: string, addsBos: boolean): { ids: number[]; contextLength: number } {
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: addsBos });
  if (context === "")
    return { ids: [1, ...tokenizer.encode(continuation, { addSpecialTokens: false })], contextLength: 1 };
  const head = context.trimEnd();
  return { ids: encode(context + continuation), contextLength: encode(head).length };
}

/** What the harness reads: the entries behind the context but the last one, and whether each is the largest beside it. */
function readPair({ token_logprobs, top_logprobs }: NonNullable<Choice["logprobs"]>, contextLength: number) {
  const own = token_logprobs.slice(contextLength, -1) as number[];
  const top = top_logprobs.slice(contextLength, -1) as Record<string, number>[];
  return {
    logprob: own.reduce((sum, x) => sum + x, 0),
    isGreedy: own.every((x, i) => x === Math.max(...Object.values(top[i]!))),
  };
}

/** The recording is of another day's driver, whose sums may run in another order. */
function expectNear(got: number, recorded: number): void {
  expect(Math.abs(got - recorded)).toBeLessThan(1e-5 * Math.max(1, Math.abs(recorded)));
}

const pairsOf = (sample: Sample) =>
  Object.values(sample.arguments).map(({ arg_0, arg_1 }) => ({ context: arg_0, continuation: arg_1 as string }));
/** Of equal ones the first, as numpy's argmax. */
const best = (values: readonly number[]) => values.indexOf(Math.max(...values));

/** acc, acc_norm (by the choice's code points, without the delimiter) and acc_mutual_info of a problem. */
function metricsOf({ doc: { choices, answer } }: Sample, logprobs: readonly number[]) {
  const given = logprobs.slice(0, choices.length);
  const alone = logprobs.slice(choices.length);
  const hit = (values: readonly number[]) => (best(values) === answer ? 1 : 0);
  return {
    acc: hit(given),
    acc_norm: hit(given.map((x, i) => x / [...choices[i]!].length)),
    ...(alone.length > 0 ? { acc_mutual_info: hit(given.map((x, i) => x - alone[i]!)) } : {}),
  };
}

/** Each sample's metrics and their means are those that the harness wrote down. */
function expectScores({ samples, results }: Recording, logprobsOf: (sample: Sample) => readonly number[]): void {
  for (const task of ["graft_choice", "graft_choice_blank"]) {
    const sums: Record<string, number> = {};
    for (const sample of samples[task]!) {
      const metrics = metricsOf(sample, logprobsOf(sample));
      expect(sample).toMatchObject(metrics);
      for (const [name, value] of Object.entries(metrics)) sums[name] = (sums[name] ?? 0) + value;
    }
    for (const [name, sum] of Object.entries(sums))
      expect(results[task]![`${name},none`]).toBe(sum / samples[task]!.length);
    expect(Object.keys(sums).length).toBe(task === "graft_choice" ? 2 : 3);
  }
}

for (const [name, recording] of Object.entries(recordings)) {
  const { model_args, samples } = recording;
  const addsBos = model_args.add_bos_token ?? false;
  describe(`recorded with ${name}`, () => {
    let answers: Awaited<ReturnType<typeof replay>>;
    let inside: LanguageModel;
    beforeAll(async () => {
      answers = await replay(recording);
      inside = micro.model(model_args.model, { addsBos });
    });
    const scoredOf = (ids: number[]) => {
      const found = answers.scored.get(key(ids));
      if (!found) throw new Error(`the harness did not ask for ${key(ids)}`);
      return found;
    };
    const logprobsOf = (sample: Sample) =>
      pairsOf(sample).map(({ context, continuation }) => {
        const { ids, contextLength } = pairOf(context, continuation, addsBos);
        return readPair(scoredOf(ids), contextLength);
      });

    test("each scored prompt has its entries and one more, with one float for a token in both lists", () => {
      expect(answers.scored.size).toBeGreaterThan(40);
      let ends = 0;
      for (const [prompt, { tokens, token_logprobs, top_logprobs, text_offset }] of answers.scored) {
        const length = (JSON.parse(prompt) as number[]).length + 1;
        const lists = [tokens, token_logprobs, top_logprobs, text_offset].map((list) => list.length);
        expect(lists).toEqual([length, length, length, length]);
        expect([token_logprobs[0], top_logprobs[0]]).toEqual([null, null]);
        for (const [i, own] of token_logprobs.entries())
          if (i > 0) expect(Object.values(top_logprobs[i]!)).toContain(own!);
        if (tokens.at(-1) === "</s>") ends++;
      }
      // The end token, too, is an entry: without it the harness would cut off the continuation's last token.
      expect(ends).toBeGreaterThan(5);
    });

    test("pairs have the log-probabilities that the harness computed, and so the problems their scores", () => {
      for (const task of ["graft_choice", "graft_choice_blank"])
        for (const sample of samples[task]!)
          for (const [i, { logprob, isGreedy }] of logprobsOf(sample).entries()) {
            const [recorded, wasGreedy] = sample.filtered_resps[i]! as [string, string];
            expectNear(logprob, Number(recorded));
            expect(isGreedy).toBe(wasGreedy === "True");
          }
      expectScores(recording, (sample) => logprobsOf(sample).map(({ logprob }) => logprob));
    });

    test("the model in this process gives the same log-probabilities within 1e-5, and the same scores", async () => {
      const all = ["graft_choice", "graft_choice_blank"].flatMap((task) => samples[task]!);
      const pairs = all.flatMap((sample) => pairsOf(sample));
      const results = await inside.loglikelihood(pairs);
      const overHttp = all.flatMap((sample) => logprobsOf(sample));
      for (const [i, { logprob, isGreedy }] of results.entries()) {
        expect(Math.abs(logprob - overHttp[i]!.logprob)).toBeLessThan(1e-5);
        expect(isGreedy).toBe(overHttp[i]!.isGreedy);
      }
      const rest = results.map(({ logprob }) => logprob);
      const bySample = new Map(all.map((sample) => [sample, rest.splice(0, pairsOf(sample).length)]));
      expectScores(recording, (sample) => bySample.get(sample)!);
    });

    test("whole texts have the log-probabilities that the harness computed", () => {
      for (const sample of samples.graft_rolling!) {
        const ids = [1, ...tokenizer.encode(sample.arguments.gen_args_0!.arg_0, { addSpecialTokens: addsBos })];
        expectNear(readPair(scoredOf(ids), 1).logprob, Number(sample.filtered_resps[0]));
      }
    });

    test("greedy answers are the recorded ones, over HTTP and in this process", async () => {
      const prompts = samples.graft_generate!.map((sample) => sample.arguments.gen_args_0!.arg_0);
      const texts = samples.graft_generate!.map((sample) => sample.filtered_resps[0]);
      const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: addsBos });
      expect(prompts.map((prompt) => answers.generated.get(key(encode(prompt))))).toEqual(texts as string[]);
      const results = await inside.generate(
        prompts.map((prompt) => ({ prompt: encode(prompt), maxNewTokens: 16, stop: ["\n", "Question:", "</s>"] })),
      );
      expect(results.map(({ sequences }) => sequences[0]!.text)).toEqual(texts as string[]);
    });
  });
}
