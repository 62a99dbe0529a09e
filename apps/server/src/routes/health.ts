/** Liveness: the server answers. Readiness: its engine does too; 503 while that is started again. */
import { Hono } from "hono";
import type { Services } from "../services.ts";

export function healthRoutes(services: Services) {
  return new Hono()
    .get("/health", (c) => c.json({ status: "ok" }))
    .get("/ready", async (c) => {
      const stats = await services.engine.stats();
      return c.json({ status: "ready", model: services.modelName, device: services.engine.info.device, ...stats });
    });
}
