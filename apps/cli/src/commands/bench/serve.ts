import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { benchServe } from "../../bench/serve.ts";
import { writeMixedAdapters } from "../../bench/serve-adapters.ts";
import { serveJson, serveReport } from "../../bench/serve-report.ts";
import { defineCommand, UsageError } from "../../command.ts";
import { counter } from "../../progress.ts";
import { connect, type Remote, serverOptions } from "../../remote/client.ts";
import { resolveModelFolder } from "../../resolve-model.ts";
import { tuning } from "../../tuning.ts";

const counts = (least: number) => z.array(z.coerce.number().int().min(least).max(1024)).min(1);

export default defineCommand({
  name: "bench serve",
  summary: "measure a server: tokens a second and latencies, with adapters of mixed kinds and without",
  description:
    "Streams completions over HTTP: every count of --streams with every count of --adapters (0 is the base alone), in rounds that take turns after a warm-up; answers have all the same length. Rates are medians of rounds, latencies percentiles over all requests and tokens. " +
    "With --model it starts a server of its own, with adapters of mixed kinds and random values; with --url it asks the adapters that the server has. --train measures the streams again with a fine-tuning job beside them.",
  examples: [
    "graft bench serve --model models/graft-micro-llama",
    "graft bench serve --model DIR --streams 1,32 --adapters 0,16 --rounds 3 --json",
    "graft bench serve --model DIR --train rows.jsonl --decode-latency-target-ms 50",
    "graft bench serve --url http://gpu-box:8000 --adapters 0,4",
  ],
  options: z.object({
    model: z.string().optional().describe("folder of a base, or a hub name, to start a server with"),
    streams: counts(1).default([1, 8, 32]).describe("requests at once"),
    adapters: counts(0).default([0, 1, 4, 16]).describe("different adapters among them"),
    rounds: z.int().min(1).default(5).describe("of each case"),
    warmUp: z.int().min(0).default(1).describe("times that each case meets its adapters before them, not counted"),
    promptTokens: z.int().min(1).default(32).describe("of each request"),
    maxTokens: z.int().min(2).default(64).describe("of each answer"),
    train: z.string().optional().describe("training data: measure with a fine-tuning job too"),
    decodeLatencyTargetMs: z.number().positive().optional().describe("of a server of its own: as `graft serve` has it"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run(o, { print, log, signal }) {
    if (o.model !== undefined && o.url !== undefined) throw new UsageError("give --model or --url, one of the two");
    const measure = async (remote: Remote): Promise<number> => {
      const result = await benchServe(remote, { ...o, signal, log, onTurn: counter("measured", log) });
      const { rounds, warmUp, promptTokens, maxTokens } = o;
      const date = new Date().toISOString();
      if (!o.json) print(serveReport(result));
      else print(JSON.stringify(serveJson({ date, rounds, warmUp, promptTokens, maxTokens, ...result }), null, 2));
      return 0;
    };
    return o.model === undefined ? measure(connect(o, signal)) : withOwnServer(o.model, o, measure, { log, signal });
  },
});

/** A server in a temporary folder with as many adapters as are asked for. What `graft serve` is told by default it is told too. */
async function withOwnServer(
  model: string,
  o: { adapters: readonly number[]; streams: readonly number[]; decodeLatencyTargetMs?: number | undefined },
  use: (remote: Remote) => Promise<number>,
  { log, signal }: { log: (line: string) => void; signal: AbortSignal },
): Promise<number> {
  const folder = await resolveModelFolder(model);
  const scratch = mkdtempSync(join(tmpdir(), "graft-bench-"));
  try {
    const adapters = await writeMixedAdapters(folder, scratch, Math.max(...o.adapters), signal);
    // It brings the database and all of HTTP.
    const { startServer } = await import("@graft/server");
    const server = await startServer({
      model: folder,
      dtype: "auto",
      maxSequences: Math.max(...o.streams),
      ...(o.decodeLatencyTargetMs === undefined ? {} : { decodeLatencyTargetMs: o.decodeLatencyTargetMs }),
      ...(tuning ? { tuning } : {}),
      adapters,
      servedModelName: basename(resolve(folder)),
      host: "127.0.0.1",
      port: 0,
      dataDir: undefined,
      apiKey: undefined,
      log,
    });
    try {
      return await use(connect({ url: server.url }, signal));
    } finally {
      await server.close();
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
