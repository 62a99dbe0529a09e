/** Batches in which rows have different adapters of different methods, or none. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Generator, type IdsRequest } from "@graft/core/generate";
import { type BaseModel, loadBaseModel, type Sharing, sharingOf, traceModelOf } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { type AdapterConfig, baseOf, batchSplit, createAdapter, parallel } from "../src/index.ts";

let device: Device;
let model: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(mkdtempSync(join(tmpdir(), "mixed-")), "base")));
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

/** An adapter that does something: fresh values with noise on them. */
async function adapterOf(config: AdapterConfig, seed: number): Promise<AdapterWeights> {
  const { bound, values } = await createAdapter(config, baseOf(model), seed);
  const random = new Random(seed, 9);
  for (const [key, value] of values)
    values.set(
      key,
      value.map((x) => x + 0.15 * random.normal()),
    );
  return new AdapterWeights(device, bound, values, "test");
}

const lora = { peft_type: "LORA", target_modules: "all-linear", r: 4 };
/** How each method's rows go with others, found by trying. */
const methods: Record<string, [config: AdapterConfig, sharing: Sharing]> = {
  lora: [lora, "stacked"],
  "lora on the embedding": [{ ...lora, target_modules: ["embed_tokens", "v_proj"] }, "selected"],
  dora: [{ ...lora, use_dora: true }, "selected"],
  "lora on the output layer": [{ ...lora, target_modules: ["lm_head"] }, "alone"],
  "lora with trained norms": [{ ...lora, target_modules: ["q_proj"], modules_to_save: ["norm"] }, "alone"],
  ia3: [{ peft_type: "IA3" }, "stacked"],
  series: [{ peft_type: "BOTTLENECK", bottleneck_size: 8, non_linearity: "tanh" }, "stacked"],
  parallel: [{ peft_type: "BOTTLENECK", bottleneck_size: 8, use_parallel_adapter: true }, "stacked"],
  houlsby: [{ peft_type: "HOULSBY" }, "stacked"],
  loha: [{ peft_type: "LOHA", target_modules: ["q_proj", "v_proj"], r: 2 }, "selected"],
  prefix: [{ peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 }, "selected"],
  prompt: [{ peft_type: "PROMPT_TUNING", num_virtual_tokens: 4 }, "selected"],
  "ln-tuning": [{ peft_type: "LN_TUNING" }, "alone"],
};

test.each(Object.entries(methods))("%s", async (_, [config, sharing]) => {
  const { bound } = await createAdapter(config, baseOf(model), 1);
  expect(sharingOf(traceModelOf(model), bound)).toBe(sharing);
});

test("rows of every method, of two adapters alike and of none: each gets what it gets alone", async () => {
  const before = [device.liveBytes, device.liveBuffers];
  const all = [
    undefined,
    ...(await Promise.all(Object.values(methods).map(([config], i) => adapterOf(config, i + 1)))),
  ];
  // Two more that are like the first LoRA but for their values.
  all.push(await adapterOf(lora, 50), await adapterOf(lora, 51));
  const generator = new Generator(model, { maxSequences: 20 });
  const requests = all.map((adapter, i): IdsRequest => ({
    promptIds: [1, 7, 30, 95, 2, 64].slice(0, 2 + (i % 5)),
    maxNewTokens: 8,
    eosTokenIds: [],
    logprobs: true,
    adapter,
  }));
  const together = await generator.generate(requests, undefined);
  for (const [i, request] of requests.entries()) {
    const [alone] = await generator.generate([request], undefined);
    // To the bit: sums run in the same order in a stack.
    expect(together[i]).toEqual(alone!);
    const [plain] = await generator.generate([{ ...request, adapter: undefined }], undefined);
    if (request.adapter) expect(alone![0]!.logprobs).not.toEqual(plain![0]!.logprobs);
  }
  for (const adapter of all) if (adapter) await generator.forget(adapter);
  await generator.destroy();
  for (const adapter of all) adapter?.destroy();
  expect([device.liveBytes, device.liveBuffers]).toEqual(before);
});

test("parallel asks every adapter, batchSplit each its part of the batch", async () => {
  const [a, b] = [await adapterOf(lora, 7), await adapterOf({ peft_type: "IA3" }, 8)];
  const generator = new Generator(model, { maxSequences: 8 });
  const requests = [
    [1, 7],
    [1, 30, 9],
    [1, 5],
  ].map((promptIds) => ({ promptIds, maxNewTokens: 4, eosTokenIds: [] }));
  const run = (all: readonly IdsRequest[]) => generator.generate(all, undefined);
  const alone = new Map<AdapterWeights | undefined, Awaited<ReturnType<typeof run>>>();
  for (const adapter of [undefined, a, b]) alone.set(adapter, await generator.generate(requests, adapter));
  const every = await run(parallel(requests, [undefined, a, b]));
  expect(every).toEqual(requests.flatMap((_, i) => [undefined, a, b].map((adapter) => alone.get(adapter)![i]!)));
  const split = await run(batchSplit(requests, [b, a], [1, 2]));
  expect(split).toEqual([alone.get(b)![0]!, alone.get(a)![1]!, alone.get(a)![2]!]);
  expect(() => batchSplit(requests, [a, b], [1, 1])).toThrow("sizes of 2 requests in sum, there are 3");
  for (const adapter of [a, b]) {
    await generator.forget(adapter);
    adapter.destroy();
  }
  await generator.destroy();
});

test("calls that run at once, and stacks that grow between them, do not disturb one another", async () => {
  const all = await Promise.all(Array.from({ length: 6 }, (_, i) => adapterOf(lora, 200 + i)));
  const generator = new Generator(model, { maxSequences: 8 });
  const request = { promptIds: [1, 7, 30], maxNewTokens: 6, eosTokenIds: [] };
  const groups = [all.slice(0, 2), all.slice(1, 5), all.slice(3), [all[0]!, all[5]!]];
  const got = await Promise.all(groups.map((own) => generator.generate(parallel([request], own), undefined)));
  for (const [i, own] of groups.entries())
    for (const [n, adapter] of own.entries())
      expect(got[i]![n]).toEqual((await generator.generate([request], adapter))[0]!);
  for (const adapter of all) {
    await generator.forget(adapter);
    adapter.destroy();
  }
  await generator.destroy();
});

test("adapters come and go: a stack grows, a place is taken again, new values count once the old are forgotten", async () => {
  const live = device.liveBuffers;
  const generator = new Generator(model, { maxSequences: 8 });
  const requestFor = (adapter: AdapterWeights | undefined): IdsRequest => ({
    promptIds: [1, 7, 30],
    maxNewTokens: 5,
    eosTokenIds: [],
    logprobs: true,
    adapter,
  });
  const held: AdapterWeights[] = [];
  for (let round = 0; round < 6; round++) {
    held.push(await adapterOf(lora, 100 + round));
    if (round === 3) {
      const gone = held.shift()!;
      await generator.forget(gone);
      gone.destroy();
    }
    const requests = [undefined, ...held].map(requestFor);
    const together = await generator.generate(requests, undefined);
    for (const [i, request] of requests.entries())
      expect(together[i]).toEqual((await generator.generate([request], undefined))[0]!);
  }
  const changed = held[1]!;
  const key = changed.adapter.parameters[0]!.key;
  const values = (await changed.read()).get(key)!;
  device.write(
    changed.buffers.get(key)!,
    values.map((x) => 2 * x),
  );
  await generator.forget(changed);
  const [mixed] = await generator.generate([requestFor(changed), requestFor(held[0])], undefined);
  expect(mixed).toEqual((await generator.generate([requestFor(changed)], undefined))[0]!);
  for (const adapter of held) {
    await generator.forget(adapter);
    adapter.destroy();
  }
  await generator.destroy();
  expect(device.liveBuffers).toBe(live);
});
