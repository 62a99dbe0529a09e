/** Non-linearities by the names that transformers and AdapterHub give them. */
import { suggest, UnknownName } from "@graft/core/errors";
import { activationNames } from "@graft/core/nn";
import type { ActivationName } from "@graft/core/ops";

/** AdapterHub writes leaky_relu without the line. */
const activations: Readonly<Record<string, ActivationName>> = { ...activationNames, leakyrelu: "leaky_relu" };

/** The op behind a config's `non_linearity`. Throws UnknownName, beginning with `where`, listing what there is. */
export function activationNamed(name: string, where: string): ActivationName {
  if (!Object.hasOwn(activations, name)) {
    throw new UnknownName(
      `${where}: non_linearity: unknown activation "${name}"${suggest(name, Object.keys(activations))}`,
    );
  }
  return activations[name]!;
}
