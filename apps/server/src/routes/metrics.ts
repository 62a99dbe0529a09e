/** GET /metrics, for Prometheus. */
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { describe } from "../describe.ts";
import type { Services } from "../services.ts";

export function metricsRoutes({ metrics: { registry } }: Services) {
  return new Hono<AppEnv>().get(
    "/metrics",
    describe({ tag: "Server", summary: "Figures for Prometheus", response: { "text/plain": z.string() } }),
    async (c) => c.body(await registry.metrics(), 200, { "content-type": registry.contentType }),
  );
}
