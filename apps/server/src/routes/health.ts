/** Liveness: the server answers. Readiness: its engine does too; 503 while that is started again. */
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { describe } from "../describe.ts";
import type { Services } from "../services.ts";

export function healthRoutes({ engine, settings }: Services) {
  return new Hono<AppEnv>()
    .get(
      "/health",
      describe({ tag: "Server", summary: "Does the server answer?", response: z.object({ status: z.literal("ok") }) }),
      (c) => c.json({ status: "ok" as const }),
    )
    .get(
      "/ready",
      describe({
        tag: "Server",
        summary: "Does the engine answer?",
        response: z.object({ status: z.literal("ready"), model: z.string(), device: z.string() }),
        errors: [503],
      }),
      async (c) => {
        await engine.stats();
        return c.json({ status: "ready" as const, model: settings.modelName, device: engine.info.device });
      },
    );
}
