/** GET /v1/status: what the dashboard and `graft ps` show. */
import type { EngineStats } from "@graft/core/engine";
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { jobStates } from "../db/index.ts";
import { describe } from "../describe.ts";
import type { Services } from "../services.ts";
import { unixSeconds } from "../unix-seconds.ts";

const count = z.int().min(0);
const statusSchema = z.object({
  object: z.literal("status"),
  model: z.string(),
  model_type: z.string(),
  max_model_len: count,
  device: z.string(),
  started_at: count,
  uptime_seconds: count,
  engine: z
    .object({
      running: count,
      waiting: count,
      waiting_tokens: count,
      kv_pages_used: count.describe("held by requests"),
      kv_pages_cached: count.describe("held by the prefix cache alone, free to take"),
      kv_pages_total: count,
      adapters: count,
      adapters_on_device: count,
      generated_tokens: count,
      prompt_tokens: count,
      cached_prompt_tokens: count,
      preemptions: count,
      by_adapter: z.record(
        z.string().describe('adapter; "" is the base'),
        z.object({ running: count, waiting: count, generated_tokens: count }),
      ),
    })
    .nullable()
    .describe("null while the engine's process is being started again"),
  memory: z.object({
    device_bytes: count.nullable().describe("all buffers on the device"),
    weights_bytes: count.describe("the base's weights"),
    kv_bytes: count.describe("the key-value cache"),
    adapter_bytes_on_device: count.nullable(),
    adapter_bytes_on_host: count.nullable(),
    rss_bytes: count.describe("of the server's own process"),
  }),
  jobs: z.partialRecord(z.enum(jobStates), count),
});

export function statusRoutes({ engine, store, settings, startedAt, now }: Services) {
  return new Hono<AppEnv>().get(
    "/v1/status",
    describe({ tag: "Server", summary: "What the server has and does", response: statusSchema }),
    async (c) => {
      const stats = await engine.stats().catch(() => undefined);
      const { info } = engine;
      const body: z.output<typeof statusSchema> = {
        object: "status",
        model: settings.modelName,
        model_type: info.modelType,
        max_model_len: info.maxLength,
        device: info.device,
        started_at: unixSeconds(startedAt),
        uptime_seconds: Math.floor((now().getTime() - startedAt.getTime()) / 1000),
        engine: stats ? engineObject(stats) : null,
        memory: {
          device_bytes: stats?.deviceBytes ?? null,
          weights_bytes: info.weightsBytes,
          kv_bytes: info.kvBytes,
          adapter_bytes_on_device: stats?.adapterBytesOnDevice ?? null,
          adapter_bytes_on_host: stats?.adapterBytesOnHost ?? null,
          rss_bytes: process.memoryUsage.rss(),
        },
        jobs: await store.countJobs(),
      };
      return c.json(body);
    },
  );
}

function engineObject(stats: EngineStats): NonNullable<z.output<typeof statusSchema>["engine"]> {
  return {
    running: stats.running,
    waiting: stats.waiting,
    waiting_tokens: stats.waitingTokens,
    kv_pages_used: stats.kvPagesUsed,
    kv_pages_cached: stats.kvPagesCached,
    kv_pages_total: stats.kvPagesTotal,
    adapters: stats.adapters,
    adapters_on_device: stats.adaptersOnDevice,
    generated_tokens: stats.generatedTokens,
    prompt_tokens: stats.promptTokens,
    cached_prompt_tokens: stats.cachedPromptTokens,
    preemptions: stats.preemptions,
    by_adapter: Object.fromEntries(
      Object.entries(stats.byAdapter).map(([name, { running, waiting, generatedTokens }]) => [
        name,
        { running, waiting, generated_tokens: generatedTokens },
      ]),
    ),
  };
}
