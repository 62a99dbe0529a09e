/**
 * P-tuning (Liu et al. 2021, arXiv:2103.10385): embeddings of virtual tokens before the sequence, the output of a perceptron or of a bidirectional LSTM on one
 * trained embedding for each token.
 */
import { z } from "zod";
import { defineMethod } from "../method.ts";
import { normal } from "../starts.ts";
import { bidirectionalLstm, encoderOf, perceptron } from "./_prompt-encoder.ts";
import { embeddingHooks } from "./_prompt-hooks.ts";
import {
  bindPrompt,
  checkPromptLearning,
  embeddingFields,
  type PromptEncoder,
  promptLearningFields,
  tokenEmbedding,
} from "./_prompt-learning.ts";

const pTuningConfig = z.looseObject({
  ...promptLearningFields,
  encoder_reparameterization_type: z.enum(["MLP", "LSTM"]).default("MLP"),
  /** Default token_dim. */
  encoder_hidden_size: z.int().min(1).nullish(),
  /** Layers of the LSTM; a perceptron has two hidden ones whatever this says, as in PEFT. */
  encoder_num_layers: z.int().min(1).default(2),
  /** Between layers of the LSTM. */
  encoder_dropout: z.number().min(0).lt(1).default(0),
});
type PTuningConfig = z.output<typeof pTuningConfig>;

export const pTuning = defineMethod<PTuningConfig>({
  name: "p-tuning",
  peftType: "P_TUNING",
  tiny: { num_virtual_tokens: 3, encoder_hidden_size: 8 },
  sizeFields: ["num_virtual_tokens"],
  config: pTuningConfig,
  trainingDefaults: { num_virtual_tokens: 30 },
  complete(base) {
    const fields = embeddingFields(base);
    return { ...fields, encoder_hidden_size: fields.token_dim, auto_mapping: null };
  },
  bind(config, base, where, _origin, shapeInFile) {
    const fields = embeddingFields(base);
    checkPromptLearning(config, fields, base, where);
    const [n, dim] = [config.num_virtual_tokens, fields.token_dim];
    const start = normal(1, [n, dim]);
    return bindPrompt(
      {
        method: "p-tuning",
        shape: [n, dim],
        start: async (random) => start.init(random),
        encoder: encoders[config.encoder_reparameterization_type](config, n, dim),
        hooks: (table) => embeddingHooks(tokenEmbedding(base).name, table),
      },
      shapeInFile,
    );
  },
});

const encoders: Record<
  PTuningConfig["encoder_reparameterization_type"],
  (config: PTuningConfig, n: number, dim: number) => PromptEncoder
> = {
  MLP(config, n, dim) {
    const hidden = config.encoder_hidden_size ?? dim;
    return encoderOf(n, dim, [perceptron("mlp_head", [dim, hidden, hidden, dim], "relu")]);
  },
  LSTM(config, n, dim) {
    const hidden = config.encoder_hidden_size ?? dim;
    const sizes = { inDim: dim, hidden, layers: config.encoder_num_layers };
    return encoderOf(n, dim, [
      bidirectionalLstm("lstm_head", sizes, config.encoder_dropout),
      perceptron("mlp_head", [2 * hidden, 2 * hidden, dim], "relu"),
    ]);
  },
};
