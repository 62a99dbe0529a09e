import { createLog, startServer } from "@graft/server";
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
    "Serves completions and chat, and trains adapters on the same base meanwhile. The `model` field of a request picks the base or an adapter. A dashboard is at /, the API at /docs. Ctrl-C lets running requests end.",
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
    databaseUrl: z
      .string()
      .regex(/^postgres(?:ql)?:\/\//, "must begin with postgres://")
      .optional()
      .describe("Postgres in place of SQLite in the data folder; default: DATABASE_URL"),
    adapterRoot: z
      .array(z.string())
      .default([])
      .describe("folder from which adapters may be loaded by path over HTTP, may be given several times"),
    corsOrigin: z.array(z.string()).default([]).describe("origin whose pages may call, may be given several times"),
    dtype: dtypeOption,
    ...quantizationOptions,
    maxSequences: z.int().min(1).max(256).default(32).describe("requests that run at once"),
    maxWaitingTokens: z
      .int()
      .min(1)
      .optional()
      .describe("refuse requests with 503 while more tokens than this wait; default: any number may"),
    kvPages: z.int().min(1).optional().describe("pages of the key-value cache; default: what the device holds"),
    deviceAdapterMb: z.number().positive().optional().describe("MiB of adapters on the device"),
    hostAdapterMb: z.number().positive().optional().describe("MiB of adapters in memory"),
    decodeLatencyTargetMs: z
      .number()
      .positive()
      .optional()
      .describe("mean time between tokens that fine-tuning jobs keep to; they get at least 5 % of the time"),
    maxJobs: z.int().min(1).max(16).default(1).describe("fine-tuning jobs that train at once"),
    maxUploadMb: z.number().positive().default(512).describe("MiB of an uploaded file"),
    logFormat: z
      .enum(["text", "json"])
      .optional()
      .describe("json: a line of JSON for each request; default: text on a terminal, json elsewhere"),
    json: z.boolean().default(false).describe("print the ready line as JSON"),
  }),
  async run(o, { print, log, signal }) {
    const adapters = Object.fromEntries(namedFolders(o.adapter).map(({ name, folder }) => [name, folder]));
    const quantization = quantizationOf(o);
    const folder = await resolveModelFolder(o.model);
    const { say, logger } = logOf(o.logFormat ?? (process.stderr.isTTY ? "text" : "json"), log);
    const MiB = 2 ** 20;
    const server = await startServer({
      model: folder,
      dtype: o.dtype,
      ...(quantization === undefined ? {} : { quantization }),
      maxSequences: o.maxSequences,
      ...(o.maxWaitingTokens === undefined ? {} : { maxWaitingTokens: o.maxWaitingTokens }),
      ...(o.kvPages === undefined ? {} : { pages: o.kvPages }),
      ...(o.deviceAdapterMb === undefined ? {} : { deviceAdapterBytes: o.deviceAdapterMb * MiB }),
      ...(o.hostAdapterMb === undefined ? {} : { hostAdapterBytes: o.hostAdapterMb * MiB }),
      ...(o.decodeLatencyTargetMs === undefined ? {} : { decodeLatencyTargetMs: o.decodeLatencyTargetMs }),
      ...(tuning ? { tuning } : {}),
      adapters,
      servedModelName: o.servedModelName ?? basename(resolve(folder)),
      host: o.host,
      port: o.port,
      dataDir: o.dataDir ?? config.dataDir,
      databaseUrl: o.databaseUrl ?? config.databaseUrl,
      apiKey: o.apiKey ?? config.apiKey,
      adapterRoots: o.adapterRoot,
      corsOrigins: o.corsOrigin,
      maxJobs: o.maxJobs,
      uploadLimit: o.maxUploadMb * MiB,
      log: say,
      ...(logger ? { logger } : {}),
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
    say("stopping: running requests may end");
    await server.close();
    return 0;
  },
});

/** Text: what a person should know. JSON: that and each request, one line each, on standard error as well. */
function logOf(format: "text" | "json", log: (line: string) => void) {
  if (format === "text") return { say: log, logger: undefined };
  const logger = createLog(process.stderr);
  return { say: (line: string) => logger.info(line), logger };
}
