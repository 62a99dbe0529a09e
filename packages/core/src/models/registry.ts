/** Every architecture, by `model_type`. */
import { suggest, UnknownName } from "../errors/index.ts";
import { bloom } from "./bloom.ts";
import { chatGlm } from "./chatglm.ts";
import { gptJ } from "./gptj.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeo } from "./gpt-neo.ts";
import { gptNeoX } from "./gpt-neox.ts";
import { llama, mistral } from "./llama.ts";
import { opt } from "./opt.ts";
import type { ModelDefinition } from "./model.ts";

const all = [bloom, chatGlm, gpt2, gptJ, gptNeo, gptNeoX, llama, mistral, opt] as unknown as ModelDefinition[];

export const models: Readonly<Record<string, ModelDefinition>> = Object.fromEntries(
  all.map((definition) => [definition.modelType, definition]),
);

/** Throws UnknownName listing what there is. */
export function modelFor(modelType: string, where: string): ModelDefinition {
  const found = models[modelType];
  if (!found)
    throw new UnknownName(`${where}: unknown model_type "${modelType}"${suggest(modelType, Object.keys(models))}`);
  return found;
}
