/** Liveness and readiness. */
import { Hono } from "hono";
import type { Services } from "../services.ts";

export function healthRoutes(services: Services) {
  return new Hono()
    .get("/health", (c) => c.json({ status: "ok" }))
    .get("/ready", (c) =>
      c.json({
        status: "ready",
        model: services.modelName,
        device: services.engine.info.device,
        ...services.engine.stats(),
      }),
    );
}
