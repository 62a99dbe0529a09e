import { mergeIntoFolder } from "@graft/adapters";
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { counter } from "../progress.ts";
import { modelOptions } from "../model-options.ts";
import { resolveModelFolder } from "../resolve-model.ts";

export default defineCommand({
  name: "merge",
  summary: "fold an adapter into its base and write a model folder",
  description:
    "Writes an ordinary model folder: the base's tensors in the dtypes they have, the adapter added to those it changes, config and tokenizer. The base and the adapter stay as they are, so nothing needs to be undone. " +
    "Needs no GPU.",
  examples: [
    "graft merge --model DIR --adapter lora --output-dir merged",
    "graft merge --model models/graft-micro-llama --adapter models/graft-micro-llama-common --output-dir merged --json",
  ],
  options: z.object({
    model: modelOptions.model,
    adapter: z.string().describe("folder of a PEFT adapter"),
    outputDir: z.string().describe("folder of the merged model: new or empty"),
    json: z.boolean().default(false).describe('print {"output_dir"}'),
  }),
  async run({ model, adapter, outputDir, json }, { print, log, signal }) {
    const folder = await resolveModelFolder(model);
    await mergeIntoFolder({ model: folder, adapter, outputDir, signal, onTensor: counter("merging: tensor", log) });
    print(json ? JSON.stringify({ output_dir: outputDir }) : `the merged model is in ${outputDir}`);
    return 0;
  },
});
