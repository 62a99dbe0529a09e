/** The embedded model in the test's own process: what an answer over HTTP is compared with. */
import { baseOf, loadAdapter } from "@graft/adapters";
import { createLanguageModel, Generator, type LanguageModel } from "@graft/core/generate";
import { loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer } from "@graft/core/text";
import { openDevice } from "@graft/kernels";
import { resolve } from "node:path";
import { type RunningServer, type ServeOptions, startServer } from "../src/index.ts";
import { commonAdapter } from "./shared.ts";

export const microModel = resolve(import.meta.dir, "../../../models/graft-micro-llama");

/** The base as "graft-micro-llama" and its adapter as "common". */
export const startMicroServer = (own: Partial<ServeOptions> = {}): Promise<RunningServer> =>
  startServer({
    model: microModel,
    adapters: { common: commonAdapter },
    servedModelName: "graft-micro-llama",
    host: "127.0.0.1",
    port: 0,
    dataDir: undefined,
    apiKey: undefined,
    dtype: "auto",
    maxSequences: 8,
    log: () => undefined,
    ...own,
  });

/** The same two. Without `addsBos` no text has a token before it that it does not name, as lm-evaluation-harness asks a remote tokenizer. */
export async function openMicroModels(): Promise<{
  model(name: "graft-micro-llama" | "common", options?: { readonly addsBos: boolean }): LanguageModel;
  close(): Promise<void>;
}> {
  const device = await openDevice();
  const base = loadBaseModel(device, microModel);
  const generator = new Generator(base, { maxSequences: 4 });
  const { bound, values } = loadAdapter(commonAdapter, baseOf(base));
  const adapter = new AdapterWeights(device, bound, values, commonAdapter);
  const tokenizer = loadTokenizer(microModel);
  return {
    model: (name, { addsBos } = { addsBos: true }) =>
      createLanguageModel({
        name,
        generator,
        tokenizer: addsBos
          ? tokenizer
          : { ...tokenizer, encode: (text) => tokenizer.encode(text, { addSpecialTokens: false }) },
        weights: name === "common" ? adapter : undefined,
      }),
    async close() {
      await generator.destroy();
      adapter.destroy();
      base.destroy();
      await device.close();
    },
  };
}
