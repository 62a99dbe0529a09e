import { startServer } from "@graft/server";
import { basename, resolve } from "node:path";
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { config } from "../config.ts";
import { resolveModelFolder } from "../resolve-model.ts";
import { dtypeOption, modelOptions, quantizationOf, quantizationOptions } from "../model-options.ts";
import { namedFolders } from "../named-folders.ts";
import { tuning } from "../tuning.ts";

export default defineCommand({
  name: "serve",
  summary: "serve a base and its adapters over HTTP, OpenAI-compatible",
  description:
    "Serves completions and chat. The `model` field of a request picks the base or an adapter. Ctrl-C lets running requests end.",
  examples: [
    "graft serve --model DIR --adapter math=./math-lora --adapter common=./common-lora",
    "graft serve --model DIR --served-model-name tiny --port 9000 --api-key secret",
    `curl localhost:8000/v1/completions -H 'content-type: application/json' -d '{"model": "math", "prompt": "Q: ..."}'`,
  ],
  options: z.object({
    model: modelOptions.model,
    adapter: z.array(z.string()).default([]).describe("NAME=DIR, may be given several times"),
    servedModelName: z.string().optional().describe("name of the base in requests; default: the folder's name"),
    host: z.string().default("127.0.0.1").describe("address to listen on"),
    port: z.int().min(0).max(65535).default(8000).describe("0 takes any free port"),
    dataDir: z.string().optional().describe("folder of the database; default: the user's data folder"),
    apiKey: z.string().optional().describe("requests must carry it; default: GRAFT_API_KEY"),
    dtype: dtypeOption,
    ...quantizationOptions,
    maxSequences: z.int().min(1).max(256).default(32).describe("requests that run at once"),
    json: z.boolean().default(false).describe("print the ready line as JSON"),
  }),
  async run(o, { print, log, signal }) {
    const adapters = Object.fromEntries(namedFolders(o.adapter).map(({ name, folder }) => [name, folder]));
    const quantization = quantizationOf(o);
    const folder = await resolveModelFolder(o.model);
    const server = await startServer({
      model: folder,
      dtype: o.dtype,
      ...(quantization === undefined ? {} : { quantization }),
      maxSequences: o.maxSequences,
      ...(tuning ? { tuning } : {}),
      adapters,
      servedModelName: o.servedModelName ?? basename(resolve(folder)),
      host: o.host,
      port: o.port,
      dataDir: o.dataDir ?? config.dataDir,
      apiKey: o.apiKey ?? config.apiKey,
      log,
    });
    const names = server.engine.adapters().map((adapter) => adapter.name);
    print(
      o.json
        ? JSON.stringify({ url: server.url, adapters: names })
        : `listening on ${server.url}${names.length > 0 ? ` with adapters ${names.join(", ")}` : ""}`,
    );
    await new Promise<void>((done) => {
      if (signal.aborted) done();
      signal.addEventListener("abort", () => done(), { once: true });
    });
    log("stopping: running requests may end");
    await server.close();
    return 0;
  },
});
