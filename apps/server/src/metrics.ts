/** Figures for Prometheus. Names that begin with "vllm:" are the ones that Kubernetes' Gateway API inference extension reads by default. */
import type { EngineEvent, EngineRequest, EngineStats } from "@graft/core/engine";
import type { MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { AppEnv } from "./app-env.ts";
import type { JobState } from "./db/index.ts";

export interface MetricsSources {
  readonly stats: () => Promise<EngineStats>;
  readonly jobs: () => Promise<Readonly<Partial<Record<JobState, number>>>>;
  /** Adapters that may be registered at once; for the gateway. */
  readonly maxAdapters: number;
  readonly now: () => Date;
}

export interface Metrics {
  readonly registry: Registry;
  /** Counts requests by route pattern and status. */
  readonly countRequests: MiddlewareHandler<AppEnv>;
  /** A request's events, with the times between them observed. */
  observe(events: AsyncIterable<EngineEvent>, request: EngineRequest): AsyncGenerator<EngineEvent>;
  /** A training step that was done. */
  trainingStep(step: { readonly loss: number; readonly tokens: number }): void;
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

export function createMetrics({ stats, jobs, maxAdapters, now }: MetricsSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const http = new Counter({
    name: "graft_http_requests_total",
    help: "Requests answered",
    labelNames: ["method", "route", "status"],
    registers,
  });
  const duration = new Histogram({
    name: "graft_http_request_duration_seconds",
    help: "Time to the head of the answer",
    labelNames: ["method", "route"],
    buckets: SECONDS,
    registers,
  });
  const histogram = (name: string, help: string) =>
    // Without a label: with thousands of adapters each bucket would be thousands of series.
    new Histogram({ name, help, buckets: SECONDS, registers });
  const firstToken = histogram("graft_time_to_first_token_seconds", "From a request's arrival to its first token");
  const betweenTokens = histogram("graft_inter_token_latency_seconds", "Between two tokens of a request");
  const wholeRequest = histogram("graft_request_duration_seconds", "From a request's arrival to its last token");
  const finished = new Counter({
    name: "graft_requests_finished_total",
    help: "Generation requests that ended, by reason",
    labelNames: ["model_name", "reason"],
    registers,
  });
  const trainingLoss = new Gauge({
    name: "graft_training_loss_nats",
    help: "Loss of the last training step of any job",
    registers,
  });
  const trainedSteps = new Counter({ name: "graft_training_steps_total", help: "Training steps done", registers });
  const trainedTokens = new Counter({
    name: "graft_training_tokens_total",
    help: "Tokens trained on, with padding",
    registers,
  });
  engineMetrics(registry, stats, maxAdapters, now);
  new Gauge({
    name: "graft_jobs",
    help: "Fine-tuning jobs by state",
    labelNames: ["state"],
    registers,
    async collect() {
      this.reset();
      for (const [state, count] of Object.entries(await jobs())) this.set({ state }, count);
    },
  });
  return {
    registry,
    countRequests: async (c, next) => {
      const started = performance.now();
      await next();
      // The pattern, not the path: ids would make a series each.
      const labels = { method: c.req.method, route: routePath(c, -1) };
      http.inc({ ...labels, status: String(c.res.status) });
      duration.observe(labels, (performance.now() - started) / 1000);
    },
    async *observe(events, { adapter }) {
      const started = performance.now();
      let last: number | undefined;
      for await (const event of events) {
        const time = performance.now();
        if (event.type === "token") {
          if (last === undefined) firstToken.observe((time - started) / 1000);
          else betweenTokens.observe((time - last) / 1000);
          last = time;
        } else if (event.type === "finish") {
          finished.inc({ model_name: adapter ?? "", reason: event.reason });
          wholeRequest.observe((time - started) / 1000);
        }
        yield event;
      }
    },
    trainingStep({ loss, tokens }) {
      trainingLoss.set(loss);
      trainedSteps.inc();
      trainedTokens.inc(tokens);
    },
  };
}

/** Read from the engine at each scrape. While its process is being started again they are absent: no figure is better than an old one. */
function engineMetrics(registry: Registry, stats: MetricsSources["stats"], maxAdapters: number, now: () => Date): void {
  let current: Promise<EngineStats | undefined> | undefined;
  /** One question for all figures of a scrape. */
  const shared = (): Promise<EngineStats | undefined> => {
    current ??= stats()
      .catch(() => undefined)
      .finally(() => queueMicrotask(() => (current = undefined)));
    return current;
  };
  const gauge = (name: string, help: string, read: (s: EngineStats) => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      async collect() {
        const s = await shared();
        this.reset();
        if (s) this.set(read(s));
        else this.remove();
      },
    });
  gauge("vllm:num_requests_running", "Requests that are being computed", (s) => s.running);
  gauge("vllm:num_requests_waiting", "Requests that wait for their turn", (s) => s.waiting);
  gauge("vllm:kv_cache_usage_perc", "Share of the cache's pages that requests hold, 0 to 1", (s) =>
    s.kvPagesTotal === 0 ? 0 : s.kvPagesUsed / s.kvPagesTotal,
  );
  gauge("graft_waiting_tokens", "Tokens of the requests that wait", (s) => s.waitingTokens);
  gauge("graft_kv_pages_total", "Pages of the key-value cache", (s) => s.kvPagesTotal);
  gauge("graft_kv_pages_used", "Pages that requests hold", (s) => s.kvPagesUsed);
  gauge("graft_kv_pages_cached", "Pages that only the prefix cache holds", (s) => s.kvPagesCached);
  gauge("graft_prompt_tokens", "Tokens of prompts since the engine began", (s) => s.promptTokens);
  gauge("graft_prompt_tokens_cached", "Those of them that the prefix cache had", (s) => s.cachedPromptTokens);
  gauge("graft_generated_tokens", "Tokens generated since the engine began", (s) => s.generatedTokens);
  gauge("graft_preemptions", "Requests that gave up their pages to be computed again", (s) => s.preemptions);
  gauge("graft_adapters_registered", "Adapters with a name", (s) => s.adapters);
  gauge("graft_adapters_on_device", "Adapters whose weights are on the device", (s) => s.adaptersOnDevice);
  gauge("graft_adapter_bytes_on_device", "Bytes of their weights", (s) => s.adapterBytesOnDevice);
  gauge("graft_adapter_bytes_on_host", "Bytes of adapters' weights in memory", (s) => s.adapterBytesOnHost);
  gauge("graft_device_bytes", "Bytes of all buffers on the device", (s) => s.deviceBytes);
  new Gauge({
    name: "vllm:lora_requests_info",
    help: "Adapters with requests; the value is when that was, in Unix seconds",
    labelNames: ["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
    registers: [registry],
    async collect() {
      const s = await shared();
      this.reset();
      if (!s) return;
      const names = (state: "running" | "waiting") =>
        Object.entries(s.byAdapter)
          .filter(([name, counts]) => name !== "" && counts[state] > 0)
          .map(([name]) => name)
          .toSorted()
          .join(",");
      const labels = {
        max_lora: String(maxAdapters),
        running_lora_adapters: names("running"),
        waiting_lora_adapters: names("waiting"),
      };
      this.set(labels, Math.floor(now().getTime() / 1000));
    },
  });
  new Gauge({
    name: "graft_adapter_requests",
    help: "Requests of each adapter; the base has no name",
    labelNames: ["model_name", "state"],
    registers: [registry],
    async collect() {
      const s = await shared();
      this.reset();
      for (const [model_name, { running, waiting }] of Object.entries(s?.byAdapter ?? {})) {
        this.set({ model_name, state: "running" }, running);
        this.set({ model_name, state: "waiting" }, waiting);
      }
    },
  });
  new Gauge({
    name: "graft_adapter_generated_tokens",
    help: "Tokens generated with each adapter since the engine began",
    labelNames: ["model_name"],
    registers: [registry],
    async collect() {
      const s = await shared();
      this.reset();
      for (const [model_name, { generatedTokens }] of Object.entries(s?.byAdapter ?? {}))
        this.set({ model_name }, generatedTokens);
    },
  });
}
