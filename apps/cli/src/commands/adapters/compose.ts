import { composeAdapters, loadAdapter, methodsByName, saveAdapter, summariseAdapter } from "@graft/adapters";
import { checkNewFolder } from "@graft/core/io";
import { z } from "zod";
import { defineCommand, oneOf } from "../../command.ts";
import { modelOptions } from "../../model-options.ts";
import { namedFolders } from "../../named-folders.ts";
import { withBase } from "../../with-base.ts";

/** Methods that are made of other adapters. */
const compositions = [...methodsByName.values()].filter(
  ({ config }) => config instanceof z.ZodObject && "adapters" in config.shape,
);

export default defineCommand({
  name: "adapters compose",
  summary: "make one adapter of several: stacked, averaged or fused",
  description:
    "The parts keep their methods and values; the result is an adapter of its own, to be served or trained (`graft train --base-model DIR --from-adapter ./fused ...`). A fusion must be trained. Needs no GPU.",
  examples: [
    "graft adapters compose --model DIR --method stack --adapter prefix=./prefix --adapter parallel=./parallel --output-dir ./mam",
    "graft adapters compose --model DIR --method average --adapter a=./a --adapter b=./b --weights 0.7,0.3 --output-dir ./both",
    "graft adapters compose --model DIR --method fusion --adapter math=./math --adapter common=./common --output-dir ./fused",
  ],
  options: z.object({
    model: modelOptions.model,
    method: oneOf(compositions.map(({ name }) => name)).describe("how the adapters act together"),
    adapter: z.array(z.string()).describe("NAME=DIR, once for each adapter; the first is the innermost"),
    trainable: z.array(z.string()).default([]).describe("names of adapters that training will change; default: none"),
    weights: z.array(z.coerce.number()).optional().describe("average: one for each adapter"),
    seed: z.int().min(0).default(0).describe("of what is new in the result"),
    outputDir: z.string().describe("folder of the result: new or empty"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run(o, { print }) {
    const folders = namedFolders(o.adapter);
    checkNewFolder(o.outputDir, "the adapter");
    await withBase(o.model, async (base) => {
      const parts = Object.fromEntries(folders.map(({ name, folder }) => [name, loadAdapter(folder, base)]));
      const settings = {
        peft_type: compositions.find(({ name }) => name === o.method)!.peftType,
        base_model_name_or_path: o.model,
        ...(o.weights ? { weights: o.weights } : {}),
      };
      await saveAdapter(o.outputDir, await composeAdapters(settings, parts, base, o, o.method), base);
    });
    const { method, parameters, version } = summariseAdapter(o.outputDir);
    print(
      o.json
        ? JSON.stringify({ output_dir: o.outputDir, method, parameters, version })
        : `the ${method} of ${folders.map(({ name }) => name).join(", ")} is in ${o.outputDir}`,
    );
    return 0;
  },
});
