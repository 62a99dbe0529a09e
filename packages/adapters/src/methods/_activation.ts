/** Non-linearities by the names that transformers and AdapterHub give them. */
import { suggest, UnknownName } from "@graft/core/errors";
import type { ActivationName } from "@graft/core/ops";

const activations: Readonly<Record<string, ActivationName>> = {
  relu: "relu",
  tanh: "tanh",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  quick_gelu: "quick_gelu",
  silu: "silu",
  swish: "silu",
  sigmoid: "sigmoid",
  leaky_relu: "leaky_relu",
  leakyrelu: "leaky_relu",
};

/** The op behind a config's `non_linearity`. Throws UnknownName, beginning with `where`, listing what there is. */
export function activationNamed(name: string, where: string): ActivationName {
  if (!Object.hasOwn(activations, name)) {
    throw new UnknownName(
      `${where}: non_linearity: unknown activation "${name}"${suggest(name, Object.keys(activations))}`,
    );
  }
  return activations[name]!;
}
