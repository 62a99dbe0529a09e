/**
 * Trains a micro base model from scratch with Graft's own trainer, every parameter, reproducibly:
 * `bun scripts/micro/pretrain.ts [--model llama] [--steps 1400] [--seed 1]`. Writes models/graft-micro-MODEL: config, weights, tokenizer.
 */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createBatches } from "../../packages/core/src/data/index.ts";
import { type TensorData, toF16, writeFileAtomic, writeSafetensors } from "../../packages/core/src/io/index.ts";
import { type BaseModel, fullParameters, modelFor } from "../../packages/core/src/models/index.ts";
import { AdapterWeights } from "../../packages/core/src/nn/index.ts";
import { Random } from "../../packages/core/src/random/index.ts";
import { loadTokenizer } from "../../packages/core/src/text/index.ts";
import { adamwDefaults, train } from "../../packages/core/src/train/index.ts";
import { openDevice } from "../../packages/kernels/src/index.ts";
import { stories } from "./corpus.ts";

/** The paper's three families, about equally large. */
const shared = { vocab_size: 512, bos_token_id: 1, eos_token_id: 2, pad_token_id: 0, torch_dtype: "float16" };
const configs = {
  llama: {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: 128,
    intermediate_size: 320,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 32,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: true,
    ...shared,
  },
  bloom: {
    architectures: ["BloomForCausalLM"],
    model_type: "bloom",
    hidden_size: 128,
    n_layer: 4,
    n_head: 4,
    seq_length: 256,
    layer_norm_epsilon: 1e-5,
    apply_residual_connection_post_layernorm: false,
    tie_word_embeddings: true,
    ...shared,
  },
  gptj: {
    architectures: ["GPTJForCausalLM"],
    model_type: "gptj",
    n_embd: 128,
    n_layer: 4,
    n_head: 4,
    n_inner: null,
    n_positions: 256,
    rotary_dim: 16,
    activation_function: "gelu_new",
    layer_norm_epsilon: 1e-5,
    tie_word_embeddings: false,
    ...shared,
  },
};

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "llama" },
    steps: { type: "string", default: "1400" },
    seed: { type: "string", default: "1" },
    out: { type: "string" },
  },
});
const models = join(import.meta.dir, "../../models");
const config = configs[values.model as keyof typeof configs];
if (!config) throw new Error(`--model ${values.model}: there are ${Object.keys(configs).join(", ")}`);
const seed = Number(values.seed);
const steps = Number(values.steps);
const folder = values.out ?? join(models, `graft-micro-${values.model}`);
const LENGTH = 128;
const ROWS = 16;

const definition = modelFor(config.model_type, "config");
const sizes = definition.parseConfig(config, "config");

// tokenizer.ts makes it, in the first model's folder.
const tokenizerFolder = join(models, "graft-micro-llama");
const tokenizer = loadTokenizer(tokenizerFolder);
// Stories are short: twice as many tokens as the run needs are made, then packed into rows.
const wanted = steps * ROWS * LENGTH;
const examples = [...stories(new Random(seed, 2), Math.ceil(wanted / 14))].map((text) => {
  const ids = Int32Array.from([...tokenizer.encode(text, { addSpecialTokens: true }), tokenizer.eosId!]);
  return { ids, labels: ids.slice() };
});
const training = createBatches(examples, { batchSize: ROWS, seed, packLength: LENGTH, padToMultipleOf: LENGTH });

const device = await openDevice();
const model: BaseModel = {
  path: folder,
  definition,
  config: sizes,
  device,
  weights: new Map(),
  generation: { eosTokenIds: [2], bosTokenId: 1, padTokenId: 0 },
  destroy: () => undefined,
};
const full = fullParameters(definition, sizes);
const random = new Random(seed, 3);
// N(0, 0.02) for matrices, ones for norms, zeros for biases, as transformers initialises them.
const initial = new Map(
  full.parameters.map(({ key, shape }) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return [
      key,
      shape.length === 1
        ? new Float32Array(count).fill(key.endsWith(".bias") ? 0 : 1)
        : Float32Array.from({ length: count }, () => 0.02 * random.normal()),
    ];
  }),
);
const weights = new AdapterWeights(device, full, initial, "initial values");
const options = {
  epochs: 1,
  maxSteps: steps,
  accumulation: 1,
  learningRate: 3e-3,
  schedule: "cosine",
  warmupSteps: 50,
  optimizer: { ...adamwDefaults, beta2: 0.99, weightDecay: 0.01 },
  maxGradNorm: 1,
  lossReduction: "token" as const,
  gradientCheckpointing: false,
  seed,
  evalSteps: 0,
  saveSteps: 0,
};
const started = performance.now();
let recent = 0;
for await (const event of train(model, weights, { training }, options)) {
  if (event.type !== "step") continue;
  recent = recent === 0 ? event.loss : 0.95 * recent + 0.05 * event.loss;
  if (event.step % 50 === 0 || event.step === 1) {
    const left = ((performance.now() - started) / event.step / 1000) * (event.totalSteps - event.step);
    console.error(
      `step ${event.step}/${event.totalSteps}  loss ${recent.toFixed(4)}  ${event.tokensPerSecond.toFixed(0)} tokens/s  ${Math.round(left)} s left`,
    );
  }
}
const tensors = new Map<string, TensorData>();
const trained = await weights.read();
for (const { key, shape } of full.parameters) {
  tensors.set(key, { dtype: "F16", shape, bytes: new Uint8Array(Uint16Array.from(trained.get(key)!, toF16).buffer) });
}
mkdirSync(folder, { recursive: true });
writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
writeFileAtomic(join(folder, "config.json"), [`${JSON.stringify(config, null, 2)}\n`]);
writeFileAtomic(join(folder, "generation_config.json"), [
  `${JSON.stringify({ bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 }, null, 2)}\n`,
]);
for (const name of ["tokenizer.json", "tokenizer_config.json"])
  if (folder !== tokenizerFolder) copyFileSync(join(tokenizerFolder, name), join(folder, name));
weights.destroy();
await device.close();
