/** Sequences that begin alike: what they share is computed once, and no result shows it. */
import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import {
  argmax,
  createLanguageModel,
  Generator,
  type GeneratorOptions,
  type IdsRequest,
  logSoftmax,
  PagedForward,
  stopCheck,
} from "../src/generate/index.ts";
import { entryOrder, sharedPages } from "../src/generate/prefix-trail.ts";
import { type BaseModel, loadBaseModel } from "../src/models/index.ts";
import { Random } from "../src/random/index.ts";
import { loadTokenizer } from "../src/text/index.ts";
import { writeTinyModel } from "./tiny-model.ts";

const micro = (name: string) => resolve(import.meta.dir, "../../../models", name);
const folder = mkdtempSync(join(tmpdir(), "shared-prefix-"));
let device: Device;
let tiny: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  tiny = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  tiny.destroy();
  await device.close();
  rmSync(folder, { recursive: true });
});

async function withGenerator<T>(
  use: (generator: Generator) => Promise<T>,
  options: GeneratorOptions = {},
  model = tiny,
): Promise<T> {
  const generator = new Generator(model, { maxSequences: 8, ...options });
  try {
    return await use(generator);
  } finally {
    expect(generator.pagesInUse).toBe(0);
    await generator.destroy();
  }
}

/** Examples that all begin with the same shots, each question with its choices, and some sequences that are alone. */
function questions(random: Random, vocabSize: number, shots: number): number[][] {
  const some = (count: number) => Array.from({ length: count }, () => 3 + random.int(vocabSize - 3));
  const beginning = [1, ...some(shots)];
  const choices = Array.from({ length: 7 }, () => {
    const question = [...beginning, ...some(3 + random.int(30))];
    return Array.from({ length: 4 }, (_, i) => [...question, ...some(i === 0 ? 1 : 1 + random.int(9))]);
  });
  return [...choices.flat(), [1, ...some(20)], [1, 5], [1], beginning, [...beginning, 9]];
}

const shuffled = <T>(list: readonly T[], random: Random): { readonly order: number[]; readonly list: T[] } => {
  const order = [...list.keys()];
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return { order, list: order.map((i) => list[i]!) };
};

describe.each(["graft-micro-llama", "graft-micro-bloom", "graft-micro-gptj"])("%s", (name) => {
  test("the floats of a score are those of the sequence alone, whoever else is scored, in whatever order and pieces", async () => {
    const model = loadBaseModel(device, micro(name), { dtype: "auto" });
    try {
      const random = new Random(7);
      const sequences = questions(random, 500, 45);
      const from = sequences.map((ids, i) => (i % 3 === 0 ? 1 : Math.max(1, ids.length - 4)));
      const { alone, logits } = await withGenerator(
        async (generator) => {
          const own = [];
          for (const [i, ids] of sequences.entries())
            own.push((await generator.score([ids], undefined, { from: [from[i]!] }))[0]!);
          return { alone: own, logits: (await generator.nextLogits(sequences[0]!.slice(0, -1), undefined)).slice() };
        },
        {},
        model,
      );
      const last = sequences[0]!.at(-1)!;
      expect(Math.abs(alone[0]!.logprobs.at(-1)! - logSoftmax(logits)[last]!)).toBeLessThan(1e-5);
      expect(alone[0]!.isGreedy.at(-1)).toBe(argmax(logits) === last);
      for (const options of [{}, { maxRows: 9 }, { pageSize: 4, pages: 90 }, { maxSequences: 1 }]) {
        await withGenerator(
          async (generator) => {
            expect(await generator.score(sequences, undefined, { from })).toEqual(alone);
            const { order, list } = shuffled(sequences, random);
            const again = await generator.score(list, undefined, { from: order.map((i) => from[i]!) });
            expect(again).toEqual(order.map((i) => alone[i]!));
          },
          options,
          model,
        );
      }
    } finally {
      model.destroy();
    }
  }, 120_000);
});

test("a score is the same float as generation reports", () =>
  withGenerator(async (generator) => {
    const promptIds = [1, 7, 30, 41];
    const request = { promptIds, maxNewTokens: 12, logprobs: true, eosTokenIds: [] };
    const made = (await generator.generate([request], undefined))[0]![0]!;
    const [scored] = await generator.score([[...promptIds, ...made.ids]], undefined, { from: [4] });
    expect(scored!.logprobs).toEqual([...made.logprobs!]);
    expect(scored!.isGreedy.every(Boolean)).toBe(true);
  }));

test("choices of one token need one row of logits, and what is shared is computed once", async () => {
  const context = Array.from({ length: 20 }, (_, i) => 3 + i);
  const rowsOf = async (sequences: number[][], from?: number[]) => {
    const score = spyOn(PagedForward.prototype, "score");
    try {
      await withGenerator((generator) => generator.score(sequences, undefined, from ? { from } : {}));
      const rows = score.mock.calls.flatMap(([own]) => own);
      return { passes: score.mock.calls.length, rows: rows.length, wanted: rows.filter((row) => row.isWanted).length };
    } finally {
      score.mockRestore();
    }
  };
  const choices = [50, 51, 52, 53].map((id) => [...context, id]);
  expect(await rowsOf(choices, [20, 20, 20, 20])).toEqual({ passes: 1, rows: 20, wanted: 1 });
  // A choice that another begins with is part of its path, and a text that is scored whole asks the same rows.
  expect(await rowsOf([...choices, [...context, 50, 60, 61], context], [20, 20, 20, 20, 20, 1])).toEqual({
    passes: 1,
    rows: 22,
    wanted: 22,
  });
  // One page of 16 is shared, the rest is computed for each.
  const long = [50, 51, 52].map((id) => [...context, id, 70]);
  expect(await rowsOf(long)).toEqual({ passes: 1, rows: 21 + 2 * 5, wanted: 21 + 2 * 5 });
});

test("sequences that have nothing to score, and none at all", () =>
  withGenerator(async (generator) => {
    expect(await generator.score([], undefined)).toEqual([]);
    const done: number[] = [];
    const onResult = (i: number) => done.push(i);
    const scored = await generator.score([[1], [1, 5, 6], [1, 7]], undefined, { from: [1, 3, 1], onResult });
    expect(scored.map(({ logprobs }) => logprobs.length)).toEqual([0, 0, 1]);
    expect(done.toSorted()).toEqual([0, 1, 2]);
  }));

test("the last id of a sequence needs no position", () =>
  withGenerator(async (generator) => {
    const ids = Array.from({ length: 130 }, (_, i) => 3 + ((i * 7) % 90));
    const [whole] = await generator.score([ids.slice(0, 129)], undefined);
    const [shorter] = await generator.score([ids.slice(0, 128)], undefined);
    expect(whole!.logprobs.slice(0, -1)).toEqual(shorter!.logprobs);
    await expect(generator.score([ids], undefined, { names: ["the essay"] })).rejects.toThrow(
      "the essay has 130 tokens; the model holds 128: shorten it",
    );
  }));

const requestsOf = (more: Partial<IdsRequest>): IdsRequest[] =>
  questions(new Random(3), 96, 37)
    .slice(0, 22)
    .map((promptIds, i) => ({ promptIds, maxNewTokens: 3 + (i % 9), seed: i, eosTokenIds: [], ...more }));

describe.each([
  ["greedy", { logprobs: true }],
  ["sampled, three of each", { temperature: 0.9, topK: 20, numReturnSequences: 3, logprobs: true }],
  ["with the host's processors", { repetitionPenalty: 1.3, numReturnSequences: 2, temperature: 1.1 }],
  ["beams", { numBeams: 4, numReturnSequences: 2 }],
] as const)("prompts that begin alike: %s", (_, more) => {
  test("each gets the tokens that it gets alone, also when pages, rows or sequences are short", async () => {
    const requests = requestsOf(more);
    const alone = await withGenerator(async (generator) => {
      const results = [];
      // Nothing to share: its other sequences are left out, and taken one by one where they are independent.
      for (const request of requests) results.push((await generator.generate([request], undefined))[0]!);
      return results;
    });
    for (const options of [{}, { pageSize: 4, pages: 60 }, { maxRows: 7 }, { maxSequences: 4 }, { maxSequences: 40 }]) {
      await withGenerator(async (generator) => {
        const seen = new Map<number, unknown>();
        const onResult = (i: number, result: unknown) => seen.set(i, result);
        expect(await generator.generate(requests, undefined, { onResult })).toEqual(alone);
        expect(requests.map((__, i) => seen.get(i))).toEqual(alone);
        const { order, list } = shuffled(requests, new Random(5));
        expect(await generator.generate(list, undefined)).toEqual(order.map((i) => alone[i]!));
      }, options);
    }
  }, 120_000);
});

test("several sequences of a prompt share its pages, and come in the order of their streams", async () => {
  const promptIds = Array.from({ length: 50 }, (_, i) => 3 + ((i * 11) % 90));
  const request = { promptIds, maxNewTokens: 12, temperature: 1.3, seed: 4 };
  const next = spyOn(PagedForward.prototype, "next");
  try {
    const [four] = await withGenerator((g) => g.generate([{ ...request, numReturnSequences: 4 }], undefined));
    // 50 rows of the first, and for each of the others what lies behind its three full pages.
    expect(next.mock.calls[0]![0].length).toBe(50 + 3 * 2);
    const [two] = await withGenerator((g) => g.generate([{ ...request, numReturnSequences: 2 }], undefined));
    expect(four!.slice(0, 2)).toEqual(two!);
    expect(new Set(four!.map(({ ids }) => ids.length)).size).toBeGreaterThan(1);
  } finally {
    next.mockRestore();
  }
});

test("beam searches of several prompts stand in one pass, and share what their prompts begin with", async () => {
  const requests = requestsOf({ numBeams: 4, maxNewTokens: 6 }).slice(0, 8);
  const run = spyOn(PagedForward.prototype, "run");
  try {
    await withGenerator((generator) => generator.generate(requests, undefined), { maxSequences: 32 });
    const sizes = run.mock.calls.map(([rows]) => rows.length);
    const prompts = requests.reduce((sum, { promptIds }) => sum + promptIds.length, 0);
    expect(sizes[0]).toBeLessThan(prompts - 7 * 32);
    expect(sizes.slice(1).every((rows) => rows % 4 === 0)).toBe(true);
    expect(Math.max(...sizes.slice(1))).toBe(32);
    expect(sizes.length).toBe(6);
  } finally {
    run.mockRestore();
  }
});

test("an order of entry puts the longest first, and next to each other what begins alike", () => {
  const random = new Random(12);
  for (let round = 0; round < 200; round++) {
    const pageSize = 1 + random.int(3);
    const entrants = Array.from({ length: random.int(20) }, () => {
      const ids = Array.from({ length: 1 + random.int(12) }, () => random.int(2));
      return { owner: random.int(2), ids, length: ids.length + random.int(5) };
    });
    const order = entryOrder(entrants, pageSize);
    expect(order.toSorted((a, b) => a - b)).toEqual([...entrants.keys()]);
    const shared = (a: number, b: number) =>
      entrants[a]!.owner === entrants[b]!.owner ? sharedPages(entrants[a]!.ids, entrants[b]!.ids, pageSize) : 0;
    // Of all before it, each shares the most with the last.
    for (const [n, i] of order.entries())
      for (const earlier of order.slice(0, n))
        expect(shared(order[n - 1]!, i)).toBeGreaterThanOrEqual(shared(earlier, i));
  }
  const alone = [5, 9, 7].map((length, i) => ({ owner: 0, ids: [i, i, i, i, i], length }));
  expect(entryOrder(alone, 4)).toEqual([1, 2, 0]);
});

test("pages come back after an abort in the middle, and after an error", async () => {
  const requests = requestsOf({});
  const sequences = requests.map(({ promptIds }) => [...promptIds]);
  const runs: ((generator: Generator, signal: AbortSignal, onResult: () => void) => Promise<unknown>)[] = [
    (g, signal, onResult) => g.generate(requests, undefined, { signal, onResult }),
    (g, signal, onResult) => g.generate(requestsOf({ numBeams: 2 }), undefined, { signal, onResult }),
    (g, signal, onResult) => g.score(sequences, undefined, { signal, onResult }),
  ];
  for (const start of runs) {
    await withGenerator(
      async (generator) => {
        const controller = new AbortController();
        await expect(start(generator, controller.signal, () => controller.abort())).rejects.toThrow("aborted");
        expect(generator.pagesInUse).toBe(0);
        const failing = start(generator, new AbortController().signal, () => {
          throw new Error("the disk is full");
        });
        await expect(failing).rejects.toThrow("the disk is full");
      },
      { maxRows: 24 },
    );
  }
});

test("a score of a model that gives NaN says so", async () => {
  const broken = loadBaseModel(device, writeTinyModel(join(folder, "broken")));
  const { buffer } = broken.weights.get("model.norm.weight")!;
  device.write(buffer, new Float32Array(buffer.size / 4).fill(Number.NaN));
  try {
    await withGenerator(
      async (generator) => {
        const scored = generator.score([[1, 5, 6]], undefined);
        await expect(scored).rejects.toThrow("the model gave NaN after position 0");
      },
      {},
      broken,
    );
  } finally {
    broken.destroy();
  }
});

test("what does not fit beside another call says so instead of waiting for ever", () =>
  withGenerator(
    async (generator) => {
      const promptIds = Array.from({ length: 40 }, (_, i) => 3 + i);
      const first = generator.generate([{ promptIds, maxNewTokens: 20, eosTokenIds: [] }], undefined);
      await expect(generator.score([promptIds], undefined)).rejects.toThrow(
        "a sequence needs 3 pages, 1 of the cache are free",
      );
      expect((await first)[0]![0]!.ids.length).toBe(20);
    },
    { pages: 5 },
  ));

describe("text", () => {
  const tokenizer = loadTokenizer(micro("graft-micro-llama"));
  const withLanguage = async <T>(use: (model: ReturnType<typeof createLanguageModel>) => Promise<T>): Promise<T> => {
    const base = loadBaseModel(device, micro("graft-micro-llama"), { dtype: "auto" });
    try {
      return await withGenerator(
        (generator) => use(createLanguageModel({ name: "micro", generator, tokenizer, weights: undefined })),
        {},
        base,
      );
    } finally {
      base.destroy();
    }
  };

  test("a pair that is too long loses the beginning of its context where that is asked for, and never its continuation", () =>
    withLanguage(async (model) => {
      const sentence = "Tom has 3 red apples and Ann has 4 green pears. ";
      const pair = { context: sentence.repeat(60), continuation: "How many do they have?" };
      await expect(model.loglikelihood([{ ...pair, name: "mawps 12" }])).rejects.toThrow(
        /^mawps 12 has \d+ tokens; the model/,
      );
      const whole = tokenizer.encode((pair.context + pair.continuation).trim(), { addSpecialTokens: true });
      const [cut, short] = await model.loglikelihood([
        { ...pair, truncation: "left" },
        { context: sentence, continuation: "How", truncation: "left" },
      ]);
      expect(cut!.cutTokens).toBe(whole.length - 257);
      expect(short!.cutTokens).toBe(0);
      const base = loadBaseModel(device, micro("graft-micro-llama"), { dtype: "auto" });
      await withGenerator(
        async (generator) => {
          const [want] = await generator.score([whole.slice(-257)], undefined, { from: [257 - cut!.tokenCount] });
          expect(cut!.logprob).toBe(want!.logprobs.reduce((a, b) => a + b, 0));
        },
        {},
        base,
      );
      base.destroy();
      const long = { context: "Tom", continuation: ` ${sentence.repeat(60)}`, truncation: "left" as const };
      // Of a continuation that is longer than the model, its end is scored.
      const [end] = await model.loglikelihood([long]);
      expect(end!.tokenCount).toBe(256);
      expect(end!.cutTokens).toBeGreaterThan(256);
    }));

  test("log-likelihoods come as they are done, and are those of each pair alone", () =>
    withLanguage(async (model) => {
      const pairs = ["apples", "pears", "3", "7 apples"].flatMap((choice) =>
        ["Tom has ", "Tom has 3 apples. Ann has ", ""].map((context) => ({ context, continuation: choice })),
      );
      const seen = new Map<number, unknown>();
      const together = await model.loglikelihood(pairs, { onResult: (i, result) => seen.set(i, result) });
      for (const [i, pair] of pairs.entries()) {
        expect(together[i]).toEqual((await model.loglikelihood([pair]))[0]!);
        expect(seen.get(i)).toEqual(together[i]);
      }
    }));

  test("a stop text is found at the token that completes it", () => {
    const random = new Random(21);
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: 30 }, () => random.int(512));
      const text = tokenizer.decode(ids);
      const at = random.int(text.length);
      const stop = [text.slice(at, at + 1 + random.int(6)), "never in it", ""].filter((t) => !t.includes("\uFFFD"));
      const { shouldStop } = stopCheck(stop, tokenizer);
      const want = ids.findIndex((_, i) => {
        const soFar = tokenizer.decode(ids.slice(0, i + 1)).replace(/\uFFFD+$/, "");
        return stop.some((t) => t !== "" && soFar.includes(t));
      });
      expect(ids.findIndex((_, i) => shouldStop!(ids.slice(0, i + 1), 0))).toBe(want);
    }
    expect(stopCheck([""], tokenizer)).toEqual({});
  });

  test("the copies of a prompt stop each at its own text", () =>
    withLanguage(async (model) => {
      const request = { prompt: "Tom has", maxNewTokens: 24, temperature: 1.2, seed: 3, eosTokenIds: [] };
      const [free] = await model.generate([{ ...request, numReturnSequences: 5 }]);
      const [stopped] = await model.generate([{ ...request, numReturnSequences: 5, stop: ["a", "."] }]);
      for (const [i, { text, ids, finishReason }] of stopped!.sequences.entries()) {
        const whole = free!.sequences[i]!;
        const cut = whole.text.search(/[a.]/);
        expect(text).toBe(cut < 0 ? whole.text : whole.text.slice(0, cut));
        expect(ids).toEqual(whole.ids.slice(0, ids.length));
        expect(finishReason).toBe(cut < 0 ? "length" : "stop");
      }
    }));
});
