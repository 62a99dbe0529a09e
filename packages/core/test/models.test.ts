/** Every architecture of the registry, over the tiny configs it names. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectClose } from "../../kernels/test/close.ts";
import { Generator } from "../src/generate/index.ts";
import { Arena, plan, Program } from "../src/graph/index.ts";
import { openCheckpoint, type TensorData, writeSafetensors } from "../src/io/index.ts";
import { type BaseModel, loadBaseModel, models, sitesOf, traceModelOf, traceSequences } from "../src/models/index.ts";
import { chatGlmLogits } from "./chatglm-reference.ts";
import golden from "./fixtures/models/tiny-logits.json" with { type: "json" };
import { writeTinyModel } from "./tiny-model.ts";

let device: Device;
const root = mkdtempSync(join(tmpdir(), "models-"));
beforeAll(async () => {
  device = await openDevice();
});
afterAll(async () => {
  await device.close();
  rmSync(root, { recursive: true, force: true });
});

/** Logits of every position of one row, without a cache. */
async function sequenceLogits(model: BaseModel, ids: readonly number[]): Promise<Float32Array> {
  const trace = traceSequences(traceModelOf(model), { batch: 1, length: ids.length });
  const made = plan(trace.graph, [trace.logits], device.capabilities);
  const resolve = (name: string) => model.weights.get(name.slice("base/".length))!.buffer;
  const program = await Program.bind(device, new Arena(device), made, resolve, "test");
  try {
    const [logits] = await program.run({
      ids: Int32Array.from(ids),
      positions: Int32Array.from(ids, (_, i) => i),
      segments: new Int32Array(ids.length).fill(1),
    });
    return logits as Float32Array;
  } finally {
    program.destroy();
  }
}

for (const { modelType, tiny } of Object.values(models)) {
  describe.each(tiny.map((config, i) => [i, config] as const))(`${modelType} %i`, (number, config) => {
    const folder = join(root, modelType, `${number}`);
    const { ids } = golden;
    let model: BaseModel;
    beforeAll(() => {
      model = loadBaseModel(device, writeTinyModel(folder, { config: { model_type: modelType, ...config } }));
    });
    afterAll(() => model.destroy());

    test("logits equal the reference's", async () => {
      const want =
        (golden.logits as Record<string, number[][]>)[modelType]?.[number] ?? chatGlmLogits(folder, config, ids);
      const got = await sequenceLogits(model, ids);
      expectClose(got.slice(-model.config.vocabSize), want, { atol: 5e-5, rtol: 1e-4 }, "logits");
    });

    test("from the cache, in chunks, each position has the logits it has without", async () => {
      const all = await sequenceLogits(model, ids);
      const generator = new Generator(model, { maxSequences: 2, maxRows: 5 });
      try {
        for (const length of [1, 6, ids.length]) {
          const got = await generator.nextLogits(ids.slice(0, length), undefined);
          const want = all.subarray((length - 1) * model.config.vocabSize, length * model.config.vocabSize);
          expectClose(got, want, { atol: 5e-5, rtol: 1e-4 }, `after ${length} tokens`);
        }
      } finally {
        await generator.destroy();
      }
    });

    test("a batch gives each prompt the tokens that it gets alone", async () => {
      const generator = new Generator(model, { maxSequences: 4 });
      try {
        const requests = [ids, ids.slice(0, 3), ids.slice(4)].map((promptIds) => ({
          promptIds,
          maxNewTokens: 9,
          eosTokenIds: [],
        }));
        const together = await generator.generate(requests, undefined);
        for (const [i, request] of requests.entries())
          expect(together[i]).toEqual((await generator.generate([request], undefined))[0]!);
      } finally {
        await generator.destroy();
      }
    });

    test("every matrix of the checkpoint is a site under its own name, and each layer has its two branches", () => {
      const { definition, config: sizes } = model;
      const sites = sitesOf(model);
      const named = new Set(
        sites.flatMap((site) => (site.kind === "linear" ? [site.weight] : [`${site.name}.weight`])),
      );
      for (const { name, shape } of definition.parameters(sizes)) if (shape.length === 2) expect(named).toContain(name);
      for (let layer = 0; layer < sizes.layers; layer++) {
        const branches = sites.filter((site) => site.kind === "branch" && site.layer === layer);
        expect(branches.map((site) => site.kind === "branch" && site.branch)).toEqual(["attention", "mlp"]);
      }
      expect(sites.filter((site) => site.kind === "linear" && site.isHead)).toHaveLength(1);
    });

    test("a checkpoint of the model without its output layer loads; one tensor less or more is named", () => {
      const checkpoint = openCheckpoint(folder);
      const tensors = new Map<string, TensorData>(
        checkpoint.names().map((name) => [name, { ...checkpoint.info(name), bytes: checkpoint.read(name) }]),
      );
      const write = (entries: Iterable<readonly [string, TensorData]>): string => {
        const target = writeTinyModel(`${folder}-changed`, { config: { model_type: modelType, ...config } });
        writeSafetensors(join(target, "model.safetensors"), new Map(entries), { format: "pt" });
        return target;
      };
      const { basePrefix } = model.definition;
      const bare = [...tensors].map(
        ([name, data]) => [name.startsWith(basePrefix) ? name.slice(basePrefix.length) : name, data] as const,
      );
      const loaded = loadBaseModel(device, write(bare));
      expect([...loaded.weights.keys()].toSorted()).toEqual([...model.weights.keys()].toSorted());
      loaded.destroy();
      const dropped = [...tensors.keys()].at(-1)!;
      const live = device.liveBuffers;
      expect(() => loadBaseModel(device, write([...tensors].slice(0, -1)))).toThrow(
        `the checkpoint has no tensor ${dropped}`,
      );
      const extra = tensors.get(dropped)!;
      expect(() => loadBaseModel(device, write([...tensors, ["another.weight", extra]]))).toThrow(
        `1 tensors do not belong to a ${modelType} of this config.json, the first is another.weight`,
      );
      expect(device.liveBuffers).toBe(live);
    });
  });
}

test.each([
  ["bloom", { hidden_size: 33 }, "hidden_size 33 is no multiple of n_head 4"],
  ["bloom", { hidden_size: undefined }, "needs hidden_size (or n_embed)"],
  ["gptj", { rotary_dim: 10 }, "rotary_dim is 10; it must be even and at most the head size 8"],
  ["gpt2", { n_head: 3 }, "n_embd 32 is no multiple of n_head 3"],
  ["gpt2", { activation_function: "geglu" }, "activation_function"],
  ["gpt_neo", { num_layers: 3 }, "attention_types describe 2 layers, num_layers says 3"],
  ["gpt_neox", { rotary_pct: 0.05 }, "0 of 16 columns of a head rotate"],
  ["opt", { layer_norm_elementwise_affine: false }, "only layer norms with weights are supported"],
  ["chatglm", { padded_vocab_size: undefined }, "the layout of ChatGLM2 and 3 is supported"],
  ["chatglm", { multi_query_group_num: 3 }, "num_attention_heads 4 is no multiple of multi_query_group_num 3"],
])("%s with %j is an error that says where and why", (modelType, change, message) => {
  const { parseConfig, tiny } = models[modelType]!;
  expect(() => parseConfig({ ...tiny[0], ...change }, "x/config.json")).toThrow(message);
  expect(() => parseConfig({ ...tiny[0], ...change }, "x/config.json")).toThrow(/^x\/config\.json/);
});
