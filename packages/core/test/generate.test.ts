import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { TextStream } from "../src/engine/index.ts";
import { DataError } from "../src/errors/index.ts";
import {
  BeamSearch,
  createLanguageModel,
  Generator,
  logSoftmax,
  PageAllocator,
  processorsFor,
  sample,
} from "../src/generate/index.ts";
import { type BaseModel, loadBaseModel } from "../src/models/index.ts";
import { Random } from "../src/random/index.ts";
import type { Tokenizer } from "../src/text/index.ts";
import { writeTinyModel } from "./tiny-model.ts";

let device: Device;
let model: BaseModel;
const folder = mkdtempSync(join(tmpdir(), "generate-"));
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

async function withGenerator<T>(use: (generator: Generator) => Promise<T>, options = {}): Promise<T> {
  const generator = new Generator(model, { maxSequences: 8, ...options });
  try {
    return await use(generator);
  } finally {
    expect(generator.pagesInUse).toBe(0);
    await generator.destroy();
  }
}
const prompts = [
  [1, 7, 30],
  [1, 5, 6, 7, 8, 9, 10, 11, 12, 60, 61, 62, 63, 64, 65, 66, 67, 68],
  [1],
  [1, 90, 3, 44, 5],
];

test("a batch gives each prompt what it gets alone, greedy and sampled", () =>
  withGenerator(async (generator) => {
    for (const temperature of [0, 0.9]) {
      const requests = prompts.map((promptIds, i) => ({
        promptIds,
        maxNewTokens: 20,
        temperature,
        seed: i,
        eosTokenIds: [],
      }));
      const together = await generator.generate(requests, undefined);
      const shuffled = await generator.generate(requests.toReversed(), undefined);
      for (const [i, request] of requests.entries()) {
        const [alone] = await generator.generate([request], undefined);
        expect(together[i]).toEqual(alone!);
        expect(shuffled[requests.length - 1 - i]).toEqual(alone!);
      }
    }
  }));

test("the device draws the token that the host's processors would, with its log-probability", () =>
  withGenerator(async (generator) => {
    const options = [
      { temperature: 1 },
      { temperature: 0.7, topK: 10 },
      { temperature: 1.2, topP: 0.8 },
      { temperature: 1.5, topK: 30, topP: 0.5 },
    ];
    for (const promptIds of prompts) {
      const logits = await generator.nextLogits(promptIds, undefined);
      const requests = options.flatMap((sampling) =>
        Array.from({ length: 12 }, (_, seed) => ({ ...sampling, promptIds, maxNewTokens: 1, seed, logprobs: true })),
      );
      const results = await generator.generate(requests, undefined);
      for (const [i, request] of requests.entries()) {
        const scores = Float64Array.from(logits);
        for (const process of processorsFor(request, promptIds.length)) process(scores, promptIds);
        const id = sample(scores, new Random(request.seed));
        const [got] = results[i]!;
        expect(got!.ids).toEqual([id]);
        expect(Math.abs(got!.logprobs![0]! - logSoftmax(logits)[id]!)).toBeLessThan(1e-5);
      }
    }
  }));

test("requests that need the host's processors and requests that do not share a pass", () =>
  withGenerator(async (generator) => {
    const plain = {
      promptIds: prompts[0]!,
      maxNewTokens: 12,
      temperature: 0.8,
      seed: 3,
      logprobs: true,
      eosTokenIds: [],
    };
    const penalised = { ...plain, promptIds: prompts[1]!, repetitionPenalty: 1.4 };
    const together = await generator.generate([plain, penalised], undefined);
    expect(together).toEqual([
      (await generator.generate([plain], undefined))[0]!,
      (await generator.generate([penalised], undefined))[0]!,
    ]);
  }));

test("a model that gives NaN says so instead of going on", async () => {
  const broken = loadBaseModel(device, writeTinyModel(join(folder, "broken")));
  const { buffer } = broken.weights.get("model.norm.weight")!;
  device.write(buffer, new Float32Array(buffer.size / 4).fill(Number.NaN));
  const generator = new Generator(broken);
  try {
    for (const temperature of [0, 1]) {
      const run = generator.generate([{ promptIds: [1, 5], maxNewTokens: 2, temperature }], undefined);
      await expect(run).rejects.toThrow("the model gave NaN after position 1: its weights are damaged");
    }
    expect(generator.pagesInUse).toBe(0);
  } finally {
    await generator.destroy();
    broken.destroy();
  }
});

test("decoding from the cache equals computing everything anew", () =>
  withGenerator(async (generator) => {
    const result = (
      await generator.generate(
        [{ promptIds: prompts[1]!, maxNewTokens: 12, eosTokenIds: [], logprobs: true }],
        undefined,
      )
    )[0]![0]!;
    for (const [n, id] of result.ids.entries()) {
      const logits = await generator.nextLogits([...prompts[1]!, ...result.ids.slice(0, n)], undefined);
      expect(logSoftmax(logits)[id]!).toBeCloseTo(result.logprobs![n]!, 4);
    }
  }));

test("long prompts in chunks score as short ones", async () => {
  const ids = Array.from({ length: 60 }, (_, i) => 3 + ((i * 37) % 90));
  const [whole] = await withGenerator((generator) => generator.score([ids], undefined));
  const [chunked] = await withGenerator((generator) => generator.score([ids], undefined), { maxRows: 8 });
  expect(chunked!.logprobs).toEqual(whole!.logprobs);
  expect(whole!.logprobs.length).toBe(59);
});

test("one beam is greedy, and more beams never score lower", () =>
  withGenerator(async (generator) => {
    const request = { promptIds: prompts[0]!, maxNewTokens: 10, eosTokenIds: [] };
    const beam = (await generator.generate([{ ...request, numBeams: 4, numReturnSequences: 2 }], undefined))[0]![0]!;
    const greedy = (await generator.generate([{ ...request, logprobs: true }], undefined))[0]![0]!;
    const greedyScore = greedy.logprobs!.reduce((a, b) => a + b, 0) / 10;
    expect(beam.score!).toBeGreaterThanOrEqual(greedyScore - 1e-5);
  }));

test("beam searches side by side give each prompt what it gets alone, also when pages, rows or sequences are short", async () => {
  const requests = prompts.map((promptIds, i) => ({
    promptIds,
    maxNewTokens: 9,
    numBeams: 2 + (i % 3),
    numReturnSequences: 2,
  }));
  const alone = await withGenerator(async (generator) => {
    const results = [];
    for (const request of requests) results.push(...(await generator.generate([request], undefined)));
    return results;
  });
  for (const options of [{}, { pages: 24, pageSize: 4 }, { maxRows: 6 }, { maxSequences: 4 }]) {
    expect(await withGenerator((generator) => generator.generate(requests, undefined), options)).toEqual(alone);
  }
  const one = { ...requests[0]!, numBeams: 5 };
  await expect(withGenerator((g) => g.generate([one], undefined), { maxSequences: 4 })).rejects.toThrow(
    "num_beams 5 is over the 4 sequences that may run at once",
  );
  const nothing = await withGenerator((g) => g.generate([{ ...one, maxNewTokens: 0 }], undefined));
  expect(nothing[0]!.map(({ ids }) => ids)).toEqual([[], []]);
});

test("beam search finds the best sequence when beams hold all of them", () => {
  const random = new Random(4);
  const table = Array.from({ length: 3 }, () => logSoftmax(Array.from({ length: 3 }, () => random.normal())));
  const search = new BeamSearch({
    beams: 9,
    maxNewTokens: 2,
    lengthPenalty: 0,
    earlyStopping: false,
    eosTokenIds: new Set(),
  });
  while (!search.isDone) search.advance(search.running.map((beam) => table[beam.ids.at(-1) ?? 0]!));
  let best = { score: Number.NEGATIVE_INFINITY, ids: [] as number[] };
  for (let a = 0; a < 3; a++)
    for (let b = 0; b < 3; b++)
      if (table[0]![a]! + table[a]![b]! > best.score) best = { score: table[0]![a]! + table[a]![b]!, ids: [a, b] };
  expect(search.results(1)[0]!.ids).toEqual(best.ids);
});

test("a prompt that is too long loses its beginning where that is asked for, and is refused otherwise", () =>
  withGenerator(async (generator) => {
    // One id for each word.
    const tokenizer = { encode: (text: string) => text.split(" ").map(Number), decode: String } as unknown as Tokenizer;
    const language = createLanguageModel({ name: "tiny", generator, tokenizer, weights: undefined });
    const ids = Array.from({ length: 130 }, (_, i) => 3 + (i % 90));
    const request = { prompt: ids.join(" "), maxNewTokens: 8, eosTokenIds: [] };
    await expect(language.generate([request])).rejects.toThrow(
      "prompt 0 has 130 tokens and asks for 8 more; the model holds 128",
    );
    const [cut] = await language.generate([{ ...request, truncation: "left" }]);
    const [want] = await language.generate([{ ...request, prompt: ids.slice(-120) }]);
    expect(cut).toEqual({ ...want!, cutTokens: 10 });
    const full = language.generate([{ ...request, maxNewTokens: 128, truncation: "left" }]);
    await expect(full).rejects.toThrow("the model holds 128");
  }));

test("prompts that cannot be are refused", () =>
  withGenerator(async (generator) => {
    const ask = (promptIds: number[], maxNewTokens = 1) => generator.generate([{ promptIds, maxNewTokens }], undefined);
    await expect(ask([])).rejects.toThrow(DataError);
    await expect(ask([96])).rejects.toThrow("the vocabulary has 96");
    await expect(ask([1], 200)).rejects.toThrow(
      "prompt 0 has 1 tokens and asks for 200 more; the model holds 128: shorten it, or ask for at most 127",
    );
    await expect(generator.generate([{ promptIds: [1], maxNewTokens: 1, numBeams: 99 }], undefined)).rejects.toThrow(
      /^num_beams 99 is over the \d+ sequences that may run at once$/,
    );
  }));

test("pages are given, shared and taken back, whatever the order", () => {
  const random = new Random(9);
  const pages = new PageAllocator(10);
  const held: number[] = [];
  for (let i = 0; i < 2000; i++) {
    const what = random.int(3);
    if (what === 0) {
      const page = pages.take();
      expect(page === undefined).toBe(new Set(held).size === 10);
      if (page !== undefined) held.push(page);
    } else if (what === 1 && held.length > 0) {
      const page = held[random.int(held.length)]!;
      pages.share(page);
      held.push(page);
    } else if (held.length > 0) pages.release(held.splice(random.int(held.length), 1)[0]!);
    expect(pages.used).toBe(new Set(held).size);
  }
  for (const page of held) pages.release(page);
  expect(pages.free).toBe(10);
  expect(() => pages.release(0)).toThrow("free already");
});

test("text streams hold back what may become a stop text, and lose nothing else", () => {
  const pieces = ["He", "llo wo", "rld", "! ST", "A", "R", " STO", "P now"];
  const decoder = () => ({ push: (id: number) => pieces[id]!, flush: () => "" });
  const plain = new TextStream(decoder(), ["NEVER"]);
  expect(pieces.map((_, i) => plain.push(i)).join("") + plain.flush()).toBe(pieces.join(""));
  const stopping = new TextStream(decoder(), ["STOP"]);
  let text = "";
  for (const i of pieces.keys()) text += stopping.push(i);
  expect(text + stopping.flush()).toBe("Hello world! STAR ");
  expect(stopping.isStopped).toBe(true);
});

const trained = (name: string): string =>
  resolve(process.env.GRAFT_SHARED ?? resolve(import.meta.dir, "../../../../shared"), "models", name);
test.skipIf(!existsSync(trained("stories260K"))).each([
  // A trained LLaMA, and a trained GPT-2 whose sequences end where its context does.
  ["stories260K", [1, 2], 0.3],
  ["slm4096-gpt2", [], 0.6],
] as const)(
  "%s continues token for token, losses within 1e-3, and half precision within bounds",
  async (name, eosTokenIds, bf16Bound) => {
    const stories = trained(name);
    const golden = JSON.parse(readFileSync(join(stories, "golden.json"), "utf8")) as {
      greedy: { prompt_ids: number[]; new_ids: number[] }[];
      loss: { ids: number[]; nll_per_token: number[] }[];
    };
    // Bounds on the per-token loss by storage of the matrices: rounding of 11 and 8 bits.
    for (const [dtype, bound] of [
      ["f32", 1e-3],
      ["f16", 0.03],
      ["bf16", bf16Bound],
    ] as const) {
      const base = loadBaseModel(device, stories, { dtype });
      const generator = new Generator(base);
      if (dtype === "f32") {
        const results = await generator.generate(
          golden.greedy.map((g) => ({
            promptIds: g.prompt_ids,
            maxNewTokens: name === "stories260K" ? 96 : g.new_ids.length,
            eosTokenIds,
          })),
          undefined,
        );
        const fresh = results.map(([sequence]) =>
          sequence!.ids.filter((id) => !(eosTokenIds as readonly number[]).includes(id)),
        );
        expect(fresh).toEqual(golden.greedy.map((g) => g.new_ids));
      }
      const scored = await generator.score(
        golden.loss.map((entry) => entry.ids),
        undefined,
      );
      const worst = Math.max(
        ...scored.flatMap(({ logprobs }, i) =>
          logprobs.map((x, j) => Math.abs(-x - golden.loss[i]!.nll_per_token[j]!)),
        ),
      );
      expect(worst).toBeLessThan(bound);
      await generator.destroy();
      base.destroy();
    }
  },
);
