import { quantizationMethods, quantizeFolder } from "@graft/core/models";
import { z } from "zod";
import { defineCommand, oneOf } from "../command.ts";
import { counter } from "../progress.ts";
import { modelOptions } from "../model-options.ts";
import { resolveModelFolder } from "../resolve-model.ts";

export default defineCommand({
  name: "quantize",
  summary: "quantise a model's linear layers and write a model folder",
  description:
    "Writes a model folder with the weights of the linear layers as codes and scales, which every command takes as it takes another; it is what --quantization makes of the model each time it is loaded. " +
    "Embeddings, norms, biases and the output layer stay as they are. Needs no GPU.",
  examples: [
    "graft quantize --model DIR --output-dir DIR-nf4 --quantization nf4",
    "graft quantize --model DIR --output-dir DIR-int8 --quantization int8 --skip-modules o_proj,model.layers.0 --json",
  ],
  options: z.object({
    model: modelOptions.model,
    outputDir: z.string().describe("folder of the quantised model: new or empty"),
    quantization: oneOf(quantizationMethods).describe(`how: ${quantizationMethods.join(", ")}`),
    skipModules: z
      .array(z.string())
      .default([])
      .describe("linear layers that stay as they are: paths, or their beginnings or ends at a dot"),
    json: z.boolean().default(false).describe('print {"output_dir"}'),
  }),
  async run({ model, outputDir, quantization, skipModules, json }, { print, log, signal }) {
    const folder = await resolveModelFolder(model);
    await quantizeFolder({
      model: folder,
      outputDir,
      quantization: { method: quantization, skipModules },
      signal,
      onTensor: counter("quantising: tensor", log),
    });
    print(json ? JSON.stringify({ output_dir: outputDir }) : `the ${quantization} model is in ${outputDir}`);
    return 0;
  },
});
