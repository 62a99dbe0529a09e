/** Training every parameter of a base, in the form of an adapter that replaces them all. */
import type { Adapter } from "../nn/adapter.ts";
import type { ModelDefinition, ModelSizes } from "./model.ts";

/** Keys are the checkpoint's own tensor names. */
export function fullParameters(definition: ModelDefinition, config: ModelSizes): Adapter {
  return {
    method: "full",
    parameters: definition.parameters(config).map(({ name, shape }) => ({ key: name, shape, trainable: true })),
    hooks: ({ parameter }) => ({ parameter: (_name, stored) => parameter(stored) }),
  };
}
