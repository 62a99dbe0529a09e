/** Structured logs: one line of JSON each. Headers, bodies, prompts and query strings never stand in them. */
import type { MiddlewareHandler } from "hono";
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from "pino";
import type { AppEnv } from "./app-env.ts";

/** Writes lines to `destination`. */
export function createLog(destination: DestinationStream, level = "info"): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      // Whatever is logged by whoever: a key is none of it.
      redact: { paths: ["authorization", "apiKey", "key", "*.authorization", "*.apiKey", "*.key"], remove: true },
    },
    destination,
  );
}

/** A line for each request when its answer has begun, under the request's id. */
export function logRequests(log: Logger): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const started = performance.now();
    const own = log.child({ requestId: c.var.requestId });
    c.set("log", own);
    await next();
    const { method, path } = c.req;
    const status = c.res.status;
    const details = { method, path, status, ms: Math.round(performance.now() - started), keyId: c.var.identity?.keyId };
    own[status >= 500 ? "error" : "info"](details, "request");
  };
}
