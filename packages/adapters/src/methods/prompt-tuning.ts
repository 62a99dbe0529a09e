/** Prompt tuning (Lester et al. 2021, arXiv:2104.08691): trained embeddings of virtual tokens before the sequence. */
import { ConfigError } from "@graft/core/errors";
import type { Random } from "@graft/core/random";
import { loadTokenizer } from "@graft/core/text";
import { existsSync } from "node:fs";
import { z } from "zod";
import { type Base, defineMethod } from "../method.ts";
import { normal } from "../starts.ts";
import { embeddingHooks } from "./_prompt-hooks.ts";
import {
  bindPrompt,
  checkPromptLearning,
  embeddingFields,
  promptLearningFields,
  tokenEmbedding,
} from "./_prompt-learning.ts";

const promptConfig = z.looseObject({
  ...promptLearningFields,
  prompt_tuning_init: z.enum(["RANDOM", "SAMPLE_VOCAB", "TEXT"]).default("RANDOM"),
  prompt_tuning_init_text: z.string().nullish(),
  /** Folder of the tokenizer that "TEXT" is cut into tokens with. */
  tokenizer_name_or_path: z.string().nullish(),
  tokenizer_kwargs: z.record(z.string(), z.unknown()).nullish(),
});
type PromptConfig = z.output<typeof promptConfig>;

export const promptTuning = defineMethod<PromptConfig>({
  name: "prompt-tuning",
  peftType: "PROMPT_TUNING",
  tiny: { num_virtual_tokens: 3 },
  sizeFields: ["num_virtual_tokens"],
  config: promptConfig,
  trainingDefaults: { num_virtual_tokens: 30 },
  complete: (base) => ({ ...embeddingFields(base), auto_mapping: null }),
  bind(config, base, where, _origin, shapeInFile) {
    const fields = embeddingFields(base);
    checkPromptLearning(config, fields, base, where);
    return bindPrompt(
      {
        method: "prompt-tuning",
        shape: [config.num_virtual_tokens, fields.token_dim],
        start: (random) => starts[config.prompt_tuning_init](config, base, random, where),
        encoder: undefined,
        hooks: (table) => embeddingHooks(tokenEmbedding(base).name, table),
      },
      shapeInFile,
    );
  },
});

/** The table at the start: noise, rows of the vocabulary drawn at random, or those of a text, repeated or cut to the number of virtual tokens. */
const starts: Record<
  PromptConfig["prompt_tuning_init"],
  (config: PromptConfig, base: Base, random: Random, where: string) => Promise<Float32Array>
> = {
  RANDOM: async ({ num_virtual_tokens: n }, base, random) => normal(1, [n, tokenEmbedding(base).columns]).init(random),
  SAMPLE_VOCAB: ({ num_virtual_tokens: n }, base, random) =>
    rowsOf(
      base,
      Array.from({ length: n }, () => random.int(tokenEmbedding(base).rows)),
    ),
  TEXT: (config, base, _random, where) => rowsOf(base, textIds(config, tokenEmbedding(base).rows, where)),
};

/** One id for each virtual token. Throws ConfigError, beginning with `where`. */
function textIds(config: PromptConfig, rows: number, where: string): number[] {
  const { prompt_tuning_init_text: text, tokenizer_name_or_path: folder, tokenizer_kwargs: options } = config;
  if (text === undefined || text === null || !folder)
    throw new ConfigError(`${where}: prompt_tuning_init TEXT needs prompt_tuning_init_text and tokenizer_name_or_path`);
  if (Object.keys(options ?? {}).length > 0)
    throw new ConfigError(`${where}: tokenizer_kwargs is not supported; save the tokenizer as it is to be used`);
  if (!existsSync(folder))
    throw new ConfigError(`${where}: tokenizer_name_or_path ${folder} is no folder here; give the tokenizer's folder`);
  const ids = loadTokenizer(folder).encode(text, { addSpecialTokens: true });
  if (ids.length === 0)
    throw new ConfigError(`${where}: prompt_tuning_init_text has no tokens; give a text, or prompt_tuning_init RANDOM`);
  const bad = ids.find((id) => id >= rows);
  if (bad !== undefined)
    throw new ConfigError(
      `${where}: prompt_tuning_init_text has the token ${bad}, the base's vocabulary ${rows}; is ${folder} the base's tokenizer?`,
    );
  return Array.from({ length: config.num_virtual_tokens }, (_, i) => ids[i % ids.length]!);
}

async function rowsOf(base: Base, ids: readonly number[]): Promise<Float32Array> {
  const { name, columns } = tokenEmbedding(base);
  const table = await base.read(`${name}.weight`);
  const rows = new Float32Array(ids.length * columns);
  for (const [i, id] of ids.entries()) rows.set(table.subarray(id * columns, (id + 1) * columns), i * columns);
  return rows;
}
