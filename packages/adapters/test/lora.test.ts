import { afterAll, beforeAll, expect, test } from "bun:test";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { type Device, openDevice } from "@graft/kernels";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { type AdapterConfig, adapterVersion, baseOf, createAdapter, loadAdapter, saveAdapter } from "../src/index.ts";
import { expectSurvives } from "./survives.ts";

let device: Device;
let model: BaseModel;
const folder = mkdtempSync(join(tmpdir(), "lora-"));
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

const config = (changes: object = {}): AdapterConfig => ({
  peft_type: "LORA",
  r: 4,
  lora_alpha: 8,
  target_modules: ["q_proj", "v_proj"],
  ...changes,
});
const variants: Record<string, object> = {
  plain: {},
  "all linear": { target_modules: "all-linear" },
  rslora: { use_rslora: true },
  dora: { use_dora: true },
  "on the embedding": { target_modules: ["embed_tokens", "q_proj"] },
  "with a module saved whole": { modules_to_save: ["lm_head"] },
  patterns: {
    rank_pattern: { v_proj: 2 },
    alpha_pattern: { "layers.1.self_attn.q_proj": 3 },
    layers_to_transform: [1],
  },
  "with every norm saved whole": { modules_to_save: ["norm"] },
  "with a whole block saved": { target_modules: "all-linear", modules_to_save: ["layers.1.mlp"] },
  "on the output layer": { target_modules: ["lm_head", "v_proj"] },
  "by a regular expression": { target_modules: String.raw`.*\.layers\.[1-9]\..*(q|up)_proj` },
  orthogonal: { init_lora_weights: "orthogonal" },
  pissa: { init_lora_weights: "pissa", target_modules: "all-linear" },
  "pissa_niter_2 with patterns": {
    init_lora_weights: "pissa_niter_2",
    rank_pattern: { v_proj: 2 },
    alpha_pattern: { "layers.1.self_attn.q_proj": 3 },
  },
  "pissa with dora": { init_lora_weights: "pissa", use_dora: true },
  olora: { init_lora_weights: "olora" },
  "olora with rslora and patterns": {
    init_lora_weights: "olora",
    use_rslora: true,
    rank_pattern: { v_proj: 2 },
    alpha_pattern: { q_proj: 3 },
    modules_to_save: ["lm_head"],
  },
};

for (const [name, changes] of Object.entries(variants)) {
  test(`${name}: fresh it changes nothing; merged it equals applied; saved twice it has the same bytes`, () =>
    expectSurvives({ model, folder: join(folder, name), config: config(changes) }));
}

test("mistakes in a config are named", async () => {
  const base = baseOf(model);
  const create = (changes: object) => createAdapter(config(changes), base, 1);
  await expect(create({ r: 0 })).rejects.toThrow("r: r must be at least 1");
  await expect(create({ target_modules: ["q_prj"] })).rejects.toThrow(
    'target module "q_prj" is no module of this model; did you mean q_proj',
  );
  await expect(create({ target_modules: "nothing" })).rejects.toThrow("select nothing");
  await expect(create({ peft_type: "LORAA" })).rejects.toThrow('unknown peft_type "LORAA"; did you mean LORA?');
  await expect(create({ modules_to_save: ["nope"] })).rejects.toThrow("nope");
});

test("an adapter for another base names the site that does not fit", async () => {
  const base = baseOf(model);
  const saved = join(folder, "other");
  await saveAdapter(saved, await createAdapter(config(), base, 1), base);
  const wide = loadBaseModel(device, writeTinyModel(join(folder, "wide"), { config: { hidden_size: 64 } }));
  expect(() => loadAdapter(saved, baseOf(wide))).toThrow(
    /layers\.0\.self_attn\.q_proj.* is \[4,32\], this base needs \[4,64\]/,
  );
  const deep = loadBaseModel(device, writeTinyModel(join(folder, "deep"), { config: { num_hidden_layers: 3 } }));
  expect(() => loadAdapter(saved, baseOf(deep))).toThrow("layers.2.self_attn.q_proj");
  wide.destroy();
  deep.destroy();
  expect(() => loadAdapter(join(folder, "nowhere"), base)).toThrow("no such adapter folder");
  mkdirSync(join(folder, "empty"));
  writeFileSync(join(folder, "empty/adapter_config.json"), "{}");
  expect(() => loadAdapter(join(folder, "empty"), base)).toThrow("peft_type");
});

test("DoRA that starts away from the base starts where LoRA would: its magnitudes are those of the changed weight", async () => {
  const changes = { init_lora_weights: false };
  const name = "model.layers.0.self_attn.q_proj.weight";
  const adapters = await Promise.all(
    [false, true].map((use_dora) => createAdapter(config({ ...changes, use_dora }), baseOf(model), 7)),
  );
  const [plain, dora] = await Promise.all(
    adapters.map(async ({ bound, values }) => {
      if (typeof bound.merge !== "function") throw new Error("LoRA merges");
      return bound.merge(values).get(name)!();
    }),
  );
  const [want, got] = [plain!, dora!];
  expect(want).not.toEqual(await baseOf(model).read(name));
  expect(Math.max(...want.map((x, i) => Math.abs(x - got[i]!)))).toBeLessThan(1e-6);
});

test("a version is that of the bytes: the same for a copy, another once a weight or the config changes, for pickles too", () => {
  const write = (name: string, file: string, weights: string, text = "{}") => {
    const path = join(folder, name);
    mkdirSync(path);
    writeFileSync(join(path, "adapter_config.json"), text);
    writeFileSync(join(path, file), weights);
    return adapterVersion(path);
  };
  const first = write("version-a", "adapter_model.safetensors", "weights");
  expect(write("version-b", "adapter_model.safetensors", "weights")).toBe(first);
  expect(write("version-c", "adapter_model.bin", "weights")).toBe(first);
  expect(write("version-d", "adapter_model.safetensors", "Weights")).not.toBe(first);
  expect(write("version-e", "adapter_model.safetensors", "weights", "{ }")).not.toBe(first);
  expect(() => adapterVersion(folder)).toThrow("has neither adapter_model.safetensors nor adapter_model.bin");
});
