/** Every architecture, by `model_type`. */
import { suggest, UnknownName } from "../errors/index.ts";
import { llama } from "./llama.ts";
import type { ModelDefinition } from "./model.ts";

export const models: Readonly<Record<string, ModelDefinition>> = {
  llama: llama as unknown as ModelDefinition,
};

/** Throws UnknownName listing what there is. */
export function modelFor(modelType: string, where: string): ModelDefinition {
  const found = models[modelType];
  if (!found)
    throw new UnknownName(`${where}: unknown model_type "${modelType}"${suggest(modelType, Object.keys(models))}`);
  return found;
}
