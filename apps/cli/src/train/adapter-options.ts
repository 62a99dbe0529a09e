/** The flags of a training run that make the adapter's config. Each method takes those that it has a field for. */
import { type AdapterConfig, methodsByName, newConfig } from "@graft/adapters";
import { z } from "zod";
import { oneOf, toKebab } from "../command.ts";

const names = [...methodsByName.keys()];

/** A text, or the truth value or number that it spells. */
const spelled = (read: (text: string) => unknown) => z.coerce.string().transform(read).optional();
const truthOrText = spelled((text) => (/^(true|false)$/i.test(text) ? text.toLowerCase() === "true" : text));
const numberOrText = spelled((text) => (text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text)));

/** Flags named as the fields of the configs. What is left out is the method's default. */
const settings = {
  loraR: z.int().min(1, "must be at least 1").optional().describe("rank (default: 8)"),
  loraAlpha: z.number().optional().describe("scaling is alpha / r (default: 16)"),
  loraDropout: z.number().min(0).lt(1).optional().describe("dropout before A (default: 0.05)"),
  targetModules: z.array(z.string()).optional().describe("modules that get an adapter, or all-linear"),
  loraTargetModules: z.array(z.string()).optional().describe("the same, as some scripts spell it"),
  useDora: z.boolean().optional().describe("DoRA: train the weights' magnitudes too"),
  useRslora: z.boolean().optional().describe("rsLoRA: scaling is alpha / sqrt(r)"),
  initLoraWeights: truthOrText.describe(
    "how A and B start: true, false, gaussian, orthogonal, pissa, pissa_niter_[n], olora (default: true)",
  ),
  bias: oneOf(["none", "all", "lora_only", "adapter_only"])
    .optional()
    .describe("biases of the base to train (default: none)"),
  modulesToSave: z.array(z.string()).optional().describe("modules of the base to train whole"),
  alpha: z.number().optional().describe("loha, lokr: scaling is alpha / r (default: 8)"),
  decomposeBoth: z.boolean().optional().describe("lokr: the first factor in low rank too"),
  decomposeFactor: z.int().optional().describe("lokr: size of the first factor (default: near the root)"),
  initR: z.int().min(1).optional().describe("adalora: rank of each layer at the start (default: 12)"),
  targetR: z.int().min(1).optional().describe("adalora: mean rank at the end (default: 8)"),
  tinit: z.int().min(0).optional().describe("adalora: first steps, with all ranks (default: 0)"),
  tfinal: z.int().min(0).optional().describe("adalora: last steps, with the ranks as they are (default: 0)"),
  deltaT: z.int().min(1).optional().describe("adalora: steps between allocations (default: 1)"),
  totalStep: z.int().min(1).optional().describe("adalora: optimizer steps of the run; it must be given"),
  orthRegWeight: z.number().optional().describe("adalora: weight of orthogonality in the loss (default: 0.5)"),
  dInitial: z.number().optional().describe("vera: where d begins (default: 0.1)"),
  projectionPrngKey: z.int().min(0).optional().describe("vera: seed of the projections (default: 0)"),
  saveProjection: z.boolean().optional().describe("vera: keep them in the file (default: true)"),
  feedforwardModules: z.array(z.string()).optional().describe("ia3: modules whose input is scaled"),
  oftBlockSize: z.int().min(0).optional().describe("oft: size of a block (default: 32)"),
  coft: z.boolean().optional().describe("oft: keep the rotations near the identity"),
  eps: z.number().optional().describe("oft: how near (default: 6e-5)"),
  blockShare: z.boolean().optional().describe("oft: one rotation for all blocks of a layer"),
  useCayleyNeumann: z.boolean().optional().describe("oft: a short series for the rotation (default: true)"),
  boftBlockSize: z.int().min(0).optional().describe("boft: size of a block (default: 4)"),
  boftBlockNum: z.int().min(0).optional().describe("boft: blocks of a layer, with a block size of 0"),
  boftNButterflyFactor: z.int().min(1).optional().describe("boft: butterfly factors (default: 1)"),
  bottleneckSize: z.int().min(1).optional().describe("width of a bottleneck adapter"),
  nonLinearity: z.string().optional().describe("activation inside a bottleneck adapter"),
  adapterDropout: z.number().min(0).lt(1).optional().describe("dropout of a bottleneck adapter"),
  useParallelAdapter: z.boolean().optional().describe("bottleneck adapters beside their modules"),
  useAdapterp: z.boolean().optional().describe("bottleneck adapters after the MLP alone (Pfeiffer's)"),
  scaling: numberOrText.describe("factor of a bottleneck adapter, or learned"),
  initWeights: z
    .string()
    .optional()
    .describe("how a bottleneck adapter starts: mam_adapter (the base's function), bert, houlsby"),
  reductionFactor: z
    .number()
    .positive()
    .optional()
    .describe("adapters around blocks: the model's width over the bottleneck's"),
  mhAdapter: z.boolean().optional().describe("adapters around blocks: at attention"),
  outputAdapter: z.boolean().optional().describe("adapters around blocks: at the MLP"),
  dropout: z.number().min(0).lt(1).optional().describe("adapters around blocks: dropout"),
  phmDim: z.int().min(1).optional().describe("compacter: terms of a Kronecker sum (default: 4)"),
  phmRank: z.int().min(1).optional().describe("compacter: rank of each (default: 1)"),
  numVirtualTokens: z.int().min(1, "must be at least 1").optional().describe("virtual tokens (default: 30)"),
  prefixProjection: z.boolean().optional().describe("prefix-tuning: train the prefix through a perceptron"),
  encoderReparameterizationType: oneOf(["MLP", "LSTM"]).optional().describe("p-tuning: MLP or LSTM (default: MLP)"),
  encoderHiddenSize: z.int().min(1).optional().describe("width of the encoder (default: the adapter's token_dim)"),
  encoderNumLayers: z.int().min(1).optional().describe("p-tuning: layers of the LSTM (default: 2)"),
  encoderDropout: z.number().min(0).lt(1).optional().describe("p-tuning: dropout between them (default: 0)"),
  promptTuningInit: oneOf(["RANDOM", "SAMPLE_VOCAB", "TEXT"])
    .optional()
    .describe("prompt-tuning: noise, words drawn at random, or a text (default: RANDOM)"),
  promptTuningInitText: z.string().optional().describe("prompt-tuning: the text that TEXT starts from"),
  tokenizerNameOrPath: z.string().optional().describe("folder of the tokenizer for it (default: the base's)"),
};

export const adapterOptions = {
  adapterName: oneOf(names)
    .default("lora")
    .describe(`adapter method: ${names.join(", ")}`),
  ...settings,
};
type AdapterOptions = z.output<z.ZodObject<typeof adapterOptions>>;

/** Flags that are not called what their field is. */
const fieldNames: Partial<Record<keyof typeof settings, string>> = {
  loraR: "r",
  loraTargetModules: "target_modules",
  deltaT: "deltaT",
};
const fieldOf = (flag: keyof typeof settings): string =>
  fieldNames[flag] ?? flag.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

/** The config that the flags ask for, and the flags that the method has no use for. `tokenizer`: folder of the base's. Throws ConfigError. */
export function adapterConfigOf(
  o: AdapterOptions,
  tokenizer: string,
): { readonly config: AdapterConfig; readonly unused: readonly string[] } {
  const flags = Object.keys(settings) as (keyof typeof settings)[];
  const given = flags.filter((flag) => o[flag] !== undefined);
  const values: Record<string, unknown> = Object.fromEntries(given.map((flag) => [fieldOf(flag), o[flag]]));
  const targets = o.targetModules ?? o.loraTargetModules;
  if (targets) values.target_modules = targets.length === 1 && targets[0] === "all-linear" ? "all-linear" : targets;
  if (o.promptTuningInit === "TEXT") values.tokenizer_name_or_path ??= tokenizer;
  const { config, unused } = newConfig(methodsByName.get(o.adapterName)!, values);
  const ignored = given.filter((flag) => unused.includes(fieldOf(flag)));
  return { config, unused: ignored.map((flag) => `--${toKebab(flag)}`) };
}
