/** One config of each kind that has virtual tokens, for the tiny model of core's tests. */
import type { AdapterConfig } from "../src/index.ts";

/** The model has 2 layers, 4 heads of 8, 2 of them for keys and values. */
export const promptConfigs: Readonly<Record<string, AdapterConfig>> = {
  prefix: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 },
  "projected prefix": {
    peft_type: "PREFIX_TUNING",
    num_virtual_tokens: 3,
    prefix_projection: true,
    encoder_hidden_size: 5,
  },
  "p-tuning, MLP": { peft_type: "P_TUNING", num_virtual_tokens: 3, encoder_hidden_size: 5 },
  "p-tuning, LSTM": {
    peft_type: "P_TUNING",
    num_virtual_tokens: 3,
    encoder_hidden_size: 5,
    encoder_reparameterization_type: "LSTM",
  },
  "prompt tuning": { peft_type: "PROMPT_TUNING", num_virtual_tokens: 3 },
};
