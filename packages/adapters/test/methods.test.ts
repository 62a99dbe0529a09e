/** PEFT's methods beside LoRA, on a tiny llama: what each must survive, and what it refuses. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { openSafetensors } from "@graft/core/io";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { baseOf, bindAdapter, createAdapter, loadAdapter, saveAdapter } from "../src/index.ts";
import { factors } from "../src/methods/lokr.ts";
import { expectSurvives } from "./survives.ts";

// Each makes a dozen pipelines.
setDefaultTimeout(60_000);

let device: Device;
let models: Record<"plain" | "biased" | "gpt2", BaseModel>;
const folder = mkdtempSync(join(tmpdir(), "methods-"));
beforeAll(async () => {
  device = await openDevice();
  const load = (name: string, config: object) =>
    loadBaseModel(device, writeTinyModel(join(folder, "base", name), { config }));
  models = {
    plain: load("plain", {}),
    biased: load("biased", { attention_bias: true, mlp_bias: true }),
    // Its weights are stored [in, out].
    gpt2: load("gpt2", { model_type: "gpt2", vocab_size: 96, n_embd: 32, n_layer: 2, n_head: 4, n_positions: 128 }),
  };
});
afterAll(async () => {
  for (const model of Object.values(models)) model.destroy();
  await device.close();
});

/** By peft_type and name. */
const variants: Readonly<Record<string, Readonly<Record<string, object>>>> = {
  IA3: {
    "with default targets": {},
    "on outputs alone": { target_modules: ["q_proj", "up_proj"], feedforward_modules: [] },
    "by a regular expression": { target_modules: ".*(k|down)_proj", feedforward_modules: ".*down_proj" },
    "with a module saved whole": { modules_to_save: ["lm_head"] },
    "from random factors": { init_ia3_weights: false },
  },
  LN_TUNING: {
    "with default targets": {},
    "on some norms": { target_modules: ["norm"], modules_to_save: ["q_proj"] },
    "on a whole block": { target_modules: ["layers.1.mlp"] },
  },
  LOHA: {
    "with default targets": {},
    "with patterns": {
      target_modules: "all-linear",
      r: 3,
      rank_pattern: { down_proj: 2 },
      alpha_pattern: { q_proj: 5 },
    },
    "from random factors": { init_weights: false, target_modules: "all-linear", alpha: 100 },
  },
  VERA: {
    "on layers of several sizes": { target_modules: "all-linear", r: 5, d_initial: 1 },
    "with projections that are not saved": { r: 6, save_projection: false, projection_prng_key: 11, d_initial: 1 },
    "from random vectors": { r: 4, init_weights: false },
  },
  ADALORA: {
    "with default targets": { init_r: 4, total_step: 10, lora_alpha: 64 },
    "on all layers, with a head saved": {
      init_r: 2,
      total_step: 10,
      target_modules: "all-linear",
      modules_to_save: ["lm_head"],
    },
    "from random factors": { init_r: 2, total_step: 10, init_lora_weights: false },
  },
  OFT: {
    "by block size": { oft_block_size: 8, target_modules: "all-linear" },
    "by number of blocks, exact": { r: 5, oft_block_size: 0, use_cayley_neumann: false },
    "with one rotation for all blocks": { oft_block_size: 4, block_share: true, num_cayley_neumann_terms: 3 },
    constrained: { oft_block_size: 8, coft: true, eps: 2, target_modules: "all-linear" },
    "from random rotations": { oft_block_size: 8, init_weights: false, modules_to_save: ["norm"] },
  },
  BOFT: {
    "of one factor": { target_modules: "all-linear" },
    "of three factors": { boft_block_size: 4, boft_n_butterfly_factor: 3, target_modules: ["q_proj", "down_proj"] },
    "by number of blocks, with biases": {
      boft_block_size: 0,
      boft_block_num: 8,
      boft_n_butterfly_factor: 4,
      bias: "boft_only",
    },
    "from random rotations": { init_weights: false },
  },
  LOKR: {
    "with whole factors": { target_modules: "all-linear", r: 8 },
    "with both factors decomposed": { target_modules: "all-linear", r: 2, decompose_both: true },
    "by a factor that divides": { target_modules: ["down_proj"], r: 1, decompose_factor: 16 },
    "as LyCORIS starts it": { r: 1, init_weights: "lycoris", target_modules: ["q_proj", "v_proj"] },
    "from random factors": { init_weights: false, r: 1, target_modules: "all-linear", alpha: 4 },
  },
};
for (const [peft_type, configs] of Object.entries(variants)) {
  for (const [name, changes] of Object.entries(configs)) {
    for (const base of ["plain", "biased"] as const) {
      test(`${peft_type} ${name}, ${base} base: fresh it is what it says; merged it equals applied; saved twice it has the same bytes`, () =>
        expectSurvives({
          model: models[base],
          folder: join(folder, peft_type, name, base),
          config: { peft_type, ...changes },
        }));
    }
  }
}

test("an unsaved projection is drawn again as torch draws it, a saved one is read", async () => {
  const base = baseOf(models.plain);
  const adapter = await createAdapter(
    { peft_type: "VERA", r: 3, projection_prng_key: 7, save_projection: false },
    base,
    1,
  );
  const path = join(folder, "vera-unsaved");
  await saveAdapter(path, adapter, base);
  const file = openSafetensors(join(path, "adapter_model.safetensors"));
  expect([...file.tensors.keys()].filter((key) => key.includes("vera_A"))).toEqual([]);
  file.close();
  expect(loadAdapter(path, base).values).toEqual(adapter.values);

  const saved = await createAdapter({ peft_type: "VERA", r: 3, projection_prng_key: 8 }, base, 1);
  saved.values.get("base_model.vera_A")!.fill(2);
  await saveAdapter(path, saved, base);
  expect(loadAdapter(path, base).values).toEqual(saved.values);
});

const onConv1d: readonly (readonly [string, object])[] = [
  ["IA3", {}],
  ["LN_TUNING", {}],
  ["LOHA", { alpha: 32 }],
  ["LOKR", { target_modules: ["c_fc", "c_attn"] }],
  ["VERA", { target_modules: ["c_fc", "c_attn"], d_initial: 1 }],
  ["ADALORA", { init_r: 4, total_step: 10, lora_alpha: 64 }],
  ["OFT", { target_modules: ["c_fc", "c_attn"] }],
  ["BOFT", { boft_n_butterfly_factor: 2, bias: "all" }],
  ["LORA", { use_dora: true, bias: "lora_only" }],
  ["LORA", { use_dora: true, init_lora_weights: "olora", r: 4, target_modules: ["c_attn", "c_proj"] }],
];
for (const [peft_type, changes] of onConv1d) {
  test(`${peft_type} ${JSON.stringify(changes)} on weights stored [in, out]: the same holds`, async () => {
    const path = join(folder, "conv1d", peft_type, Object.keys(changes).join(" "));
    await expectSurvives({ model: models.gpt2, folder: path, config: { peft_type, ...changes } });
  });
}

test("adapters that do not start as the base say so", () => {
  const starts = (peft_type: string, changes: object) =>
    bindAdapter({ peft_type, ...changes }, baseOf(models.plain), "test").startsAsIdentity;
  for (const peft_type of ["BOFT", "LOHA", "LOKR", "OFT", "VERA"]) {
    expect(starts(peft_type, {})).toBe(true);
    expect(starts(peft_type, { init_weights: false })).toBe(false);
  }
  expect(starts("IA3", { init_ia3_weights: false })).toBe(false);
});

/** What a new adapter of a config is refused for. */
const mistakes: readonly (readonly [string, object, string])[] = [
  [
    "IA3",
    { target_modules: ["q_proj"], feedforward_modules: ["down_proj"] },
    'feedforward_modules names "down_proj", which is not among',
  ],
  [
    "IA3",
    { target_modules: ["q_prj"], feedforward_modules: [] },
    'target module "q_prj" is no module of this model; did you mean q_proj',
  ],
  [
    "IA3",
    { target_modules: ["embed_tokens"], feedforward_modules: [] },
    "ia3 on the embedding model.embed_tokens is not supported",
  ],
  ["LN_TUNING", { target_modules: ["nrm"] }, 'target module "nrm" is no module of this model; did you mean norm'],
  ["LOHA", { rank_dropout: 0.1 }, "rank_dropout (dropout of whole rows, blocks or modules) is not supported"],
  ["LOHA", { init_weights: "abba" }, "init_weights: must be true or false"],
  ["LOHA", { r: 0 }, "r: r must be at least 1"],
  ["ADALORA", {}, "total_step is not set; AdaLoRA needs the number of optimizer steps"],
  ["ADALORA", { total_step: 10, tinit: 5, tfinal: 5 }, "tinit 5 and tfinal 5 leave no step of total_step 10"],
  ["ADALORA", { total_step: 10, use_dora: true }, "use_dora (DoRA) is not supported"],
  ["ADALORA", { total_step: 10, orth_reg_weight: 0 }, "orth_reg_weight: orth_reg_weight must be above 0"],
  ["OFT", { r: 4 }, "r is 4 and oft_block_size 32; one of them must be 0"],
  ["OFT", { bias: "all" }, 'bias "all" is not supported'],
  ["OFT", { module_dropout: 0.1 }, "module_dropout (dropout of whole"],
  ["BOFT", { boft_block_num: 4 }, "boft_block_size is 4 and boft_block_num 4; one of them must be 0"],
  ["BOFT", { boft_block_size: 5 }, "model.layers.0.self_attn.q_proj has 32 inputs, no multiple of boft_block_size 5"],
  [
    "BOFT",
    { boft_block_size: 8, boft_n_butterfly_factor: 4 },
    "model.layers.0.self_attn.q_proj has 32 inputs: 4 butterfly factors need",
  ],
  ["BOFT", { boft_dropout: 0.1 }, "boft_dropout (dropout of whole"],
  ["VERA", { bias: "all" }, 'bias "all" is not supported'],
  ["LOKR", { use_effective_conv2d: true }, "use_effective_conv2d (a core tensor of convolutions) is not supported"],
  ["LOKR", { module_dropout: 0.5 }, "module_dropout (dropout of whole"],
];
for (const [peft_type, changes, message] of mistakes) {
  test(`${peft_type} ${JSON.stringify(changes)} is refused: ${message}`, () =>
    expect(createAdapter({ peft_type, ...changes }, baseOf(models.plain), 1, "test")).rejects.toThrow(
      `test: ${message}`,
    ));
}

test("LoKr's factors are the nearest to each other, the smaller first, unless one is given that divides", () => {
  const cases = [
    [256, -1, 16, 16],
    [128, -1, 8, 16],
    [127, -1, 1, 127],
    [128, 4, 4, 32],
    [64, 32, 32, 2],
    [120, 7, 6, 20],
  ] as const;
  for (const [dimension, factor, ...want] of cases) expect(factors(dimension, factor)).toEqual(want);
});

test("a base without defaults needs target_modules", () => {
  const base = { ...baseOf(models.plain), modelType: "other" };
  for (const peft_type of Object.keys(variants))
    expect(() => bindAdapter({ peft_type, total_step: 10 }, base, "test")).toThrow(
      "test: target_modules is not set and other has no default",
    );
});
