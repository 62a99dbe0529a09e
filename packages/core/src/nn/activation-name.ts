/** Activations as config files name them. */
import { z } from "zod";
import type { ActivationName } from "../ops/index.ts";

/** transformers' names (ACT2FN) of what core computes. gelu is the exact one; the others of the name are its tanh approximation. */
export const activationNames = {
  silu: "silu",
  swish: "silu",
  relu: "relu",
  tanh: "tanh",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  quick_gelu: "quick_gelu",
  sigmoid: "sigmoid",
  leaky_relu: "leaky_relu",
} as const satisfies Record<string, ActivationName>;

/** A config field that names an activation. */
export const activationSchema = z
  .enum(Object.keys(activationNames) as [keyof typeof activationNames, ...(keyof typeof activationNames)[]])
  .transform((name): ActivationName => activationNames[name]);
