/** The harness measures a server as it measures the model itself: the same texts, the same log-probabilities. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { LanguageModel } from "@graft/core/generate";
import { loadTokenizer } from "@graft/core/text";
import { EndpointError } from "../../../packages/eval/src/endpoint-client.ts";
import { endpointModel } from "../../../packages/eval/src/endpoint-model.ts";
import type { RunningServer } from "../src/index.ts";
import { microModel, openMicroModels, startMicroServer } from "./in-process.ts";

const names = ["graft-micro-llama", "common"] as const;
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
const remote = (model: string, hidesTokenizer = false): LanguageModel =>
  endpointModel({
    url: server.url,
    model,
    concurrency: 4,
    ...(hidesTokenizer
      ? {
          fetch: async (request: Request) =>
            request.url.includes("token") ? new Response("", { status: 404 }) : fetch(request),
        }
      : {}),
  });

const pairs = [
  { context: "Tom has 3 apples. Ana gives Tom 2 apples.", continuation: " Tom has 5 apples." },
  { context: "Tom has 3 apples. Ana gives Tom 2 apples. ", continuation: "Tom has 7 apples." },
  { context: "Q: The cup is red. Is the cup blue?\nA:", continuation: " The correct answer is false." },
  { context: "Q: The cup is red. Is the cup blue?\nA:", continuation: " The correct answer is true." },
  { context: "Mia sits in a café 🐦", continuation: " and drinks tea." },
  { context: "Max has 4 balls.\n\n", continuation: "Zoe has 9 balls." },
];

test("greedy texts are those of the model itself, with its stop texts", async () => {
  for (const name of names) {
    const requests = pairs.map(({ context }) => ({ prompt: context, maxNewTokens: 16, stop: [".", "Q:"] }));
    const wanted = await micro.model(name).generate(requests);
    const got = await remote(name).generate(requests);
    const shown = (results: typeof got) => results.map(({ sequences: [s] }) => [s!.text, s!.finishReason]);
    expect(shown(got)).toEqual(shown(wanted));
    const ids = wanted.map(({ promptIds }) => ({ prompt: promptIds, maxNewTokens: 16, stop: [".", "Q:"] }));
    expect(shown(await remote(name).generate(ids))).toEqual(shown(wanted));
  }
});

test("log-probabilities are those of the model itself within 1e-5, with the server's tokenizer and without", async () => {
  for (const name of names) {
    const own = micro.model(name);
    const told: number[] = [];
    const got = await remote(name).loglikelihood([...pairs, { context: "", continuation: "Tom has 3 apples." }], {
      onResult: (i) => told.push(i),
    });
    const wanted = await own.loglikelihood([...pairs, { context: "", continuation: "Tom has 3 apples." }]);
    const withoutTokenizer = await remote(name, true).loglikelihood(pairs);
    for (const results of [got, withoutTokenizer])
      for (const [i, { logprob, ...rest }] of results.entries()) {
        const { logprob: wantedLogprob, ...wantedRest } = wanted[i]!;
        expect(Math.abs(logprob - wantedLogprob)).toBeLessThan(1e-5);
        expect(rest).toEqual(wantedRest);
      }
    expect(told.toSorted((a, b) => a - b)).toEqual([...got.keys()]);
  }
});

test("a greedy continuation is one, up to the end token", async () => {
  const prompt = "Q: The cup is red. Is the cup blue?\nA:";
  const [answer] = await remote("common").generate([{ prompt, maxNewTokens: 30 }]);
  const { text, finishReason } = answer!.sequences[0]!;
  expect(finishReason).toBe("stop");
  const [result] = await remote("common").loglikelihood([{ context: prompt, continuation: text }]);
  expect(result!.isGreedy).toBe(true);
  expect(result!.tokenCount).toBe(loadTokenizer(microModel).encode(text, { addSpecialTokens: false }).length);
});

test("a prompt that is too long is cut as the model itself cuts it; without leave to cut it is the server's error", async () => {
  const long = { prompt: "Ana has 2 cups. ".repeat(60), maxNewTokens: 8, name: "long" };
  const wanted = await micro.model("common").generate([{ ...long, truncation: "left" }]);
  const got = await remote("common").generate([{ ...long, truncation: "left" }]);
  expect(got[0]!.cutTokens).toBeGreaterThan(0);
  expect(got[0]).toMatchObject({ promptIds: wanted[0]!.promptIds, cutTokens: wanted[0]!.cutTokens });
  expect(got[0]!.sequences[0]!.text).toBe(wanted[0]!.sequences[0]!.text);
  const error: unknown = await remote("common")
    .generate([long])
    .catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(EndpointError);
  expect((error as Error).message).toContain("long: ");
  expect((error as Error).message).toContain("maximum context length is 256 tokens");
  const pair = { context: long.prompt, continuation: " Ana has 3 cups.", truncation: "left" as const };
  const [scored] = await remote("common").loglikelihood([pair]);
  // One token less than the model itself, which needs no room behind the last one.
  const [inside] = await micro.model("common").loglikelihood([pair]);
  expect(scored!.cutTokens).toBe(inside!.cutTokens + 1);
  expect(scored!.tokenCount).toBe(inside!.tokenCount);
});

test("sampling by seed repeats, and several answers come in order", async () => {
  const request = { prompt: "Tom has", maxNewTokens: 12, temperature: 1, seed: 5, numReturnSequences: 3 };
  const [first, second] = [await remote("common").generate([request]), await remote("common").generate([request])];
  expect(first).toEqual(second);
  expect(new Set(first[0]!.sequences.map(({ text }) => text)).size).toBeGreaterThan(1);
});

test("a name that the server does not have is its error, with its suggestion", async () => {
  const error: unknown = await remote("comon")
    .loglikelihood(pairs)
    .catch((reason: unknown) => reason);
  expect((error as Error).message).toContain("answered 404: The model `comon` does not exist; did you mean common?");
});

test("chat gives the answer of the chat route", async () => {
  const chat = endpointModel({ url: server.url, model: "common", isChat: true });
  const [answer] = await chat.generate([{ prompt: "The cup is red. Is the cup blue?", maxNewTokens: 12 }]);
  const [plain] = await micro
    .model("common")
    .generate([{ prompt: "Q: The cup is red. Is the cup blue?\nA:", maxNewTokens: 12 }]);
  expect(answer!.sequences[0]!.text).toBe(plain!.sequences[0]!.text);
});
