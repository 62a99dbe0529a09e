/** Loading what a command names: device, base, tokenizer, adapter. */
import { adapterVersion, baseOf, type LoadedAdapter, loadAdapter } from "@graft/adapters";
import { CheckpointError } from "@graft/core/errors";
import { createLanguageModel, Generator, type LanguageModel } from "@graft/core/generate";
import { type BaseModel, loadBaseModel, type WeightDType } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer, type Tokenizer } from "@graft/core/text";
import type { Device } from "@graft/kernels";
import { openCommandDevice } from "./device.ts";
import { existsSync } from "node:fs";
import { quantizationOf } from "./model-options.ts";
import { counter } from "./progress.ts";
import { resolveModelFolder } from "./resolve-model.ts";

export { resolveModelFolder } from "./resolve-model.ts";

export interface LoadOptions {
  readonly model: string;
  readonly adapter?: string | undefined;
  readonly dtype?: WeightDType | undefined;
  readonly quantization?: Parameters<typeof quantizationOf>[0]["quantization"];
  readonly quantizationSkipModules?: readonly string[] | undefined;
  readonly maxSequences?: number | undefined;
}

export interface LoadedModel {
  readonly device: Device;
  readonly base: BaseModel;
  readonly generator: Generator;
  /** Undefined for a folder without tokenizer files: ids only. */
  readonly tokenizer: Tokenizer | undefined;
  readonly adapter: LoadedAdapter | undefined;
  readonly weights: AdapterWeights | undefined;
  close(): Promise<void>;
}

/** Throws what loading throws, with everything opened so far closed again. */
export async function loadModel(options: LoadOptions): Promise<LoadedModel> {
  const { model, adapter, dtype, maxSequences } = options;
  const quantization = quantizationOf(options);
  const folder = await resolveModelFolder(model);
  const device = await openCommandDevice();
  try {
    const onTensor = counter("loading: tensor", (line) => process.stderr.write(`${line}\n`), { isPassing: true });
    const base = loadBaseModel(device, folder, { dtype: dtype ?? "auto", quantization, onTensor });
    const loaded = adapter === undefined ? undefined : loadAdapter(adapter, baseOf(base));
    if (loaded?.unread?.length)
      process.stderr.write(`${adapter}: ${loaded.unread.join(", ")} in its config have no effect here\n`);
    const weights = loaded && new AdapterWeights(device, loaded.bound, loaded.values, adapter!);
    const generator = new Generator(base, maxSequences === undefined ? {} : { maxSequences });
    const tokenizer =
      existsSync(`${folder}/tokenizer.json`) || existsSync(`${folder}/tokenizer.model`)
        ? loadTokenizer(folder)
        : undefined;
    return {
      device,
      base,
      generator,
      tokenizer,
      adapter: loaded,
      weights,
      async close() {
        await generator.destroy();
        weights?.destroy();
        base.destroy();
        await device.close();
      },
    };
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** The model as evaluation sees it. */
export async function loadLanguageModel(options: LoadOptions): Promise<LanguageModel & { close(): Promise<void> }> {
  const loaded = await loadModel(options);
  if (!loaded.tokenizer) {
    await loaded.close();
    throw new CheckpointError(`${options.model}: has neither tokenizer.json nor tokenizer.model`);
  }
  // With its version: results of an adapter that was trained again are not those of its folder's name.
  const name =
    options.adapter === undefined
      ? options.model
      : `${options.model} + ${options.adapter} ${adapterVersion(options.adapter)}`;
  const model = createLanguageModel({
    name,
    generator: loaded.generator,
    tokenizer: loaded.tokenizer,
    weights: loaded.weights,
  });
  return { ...model, close: () => loaded.close() };
}
