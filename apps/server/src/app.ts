/** The HTTP surface. One line for each resource. */
import { type Context, Hono, type MiddlewareHandler, type Next } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { requestId } from "hono/request-id";
import type { AppEnv } from "./app-env.ts";
import { authenticate } from "./auth.ts";
import { ApiError, errorBody, onError } from "./errors.ts";
import { logRequests } from "./log.ts";
import { limitRates } from "./rate-limit.ts";
import { adapterRoutes } from "./routes/adapters.ts";
import { chatRoutes } from "./routes/chat.ts";
import { completionRoutes } from "./routes/completions.ts";
import { dashboardRoutes } from "./routes/dashboard.ts";
import { docsRoutes } from "./routes/docs.ts";
import { fileRoutes } from "./routes/files.ts";
import { fineTuningRoutes } from "./routes/fine-tuning.ts";
import { healthRoutes } from "./routes/health.ts";
import { keyRoutes } from "./routes/keys.ts";
import { metricsRoutes } from "./routes/metrics.ts";
import { modelRoutes } from "./routes/models.ts";
import { runRoutes } from "./routes/runs.ts";
import { statusRoutes } from "./routes/status.ts";
import { tokenizerRoutes } from "./routes/tokenizer.ts";
import type { Services } from "./services.ts";

export function createApp(services: Services) {
  const { settings, metrics, log } = services;
  const api = new Hono<AppEnv>()
    .route("/", healthRoutes(services))
    .route("/", modelRoutes(services))
    .route("/", completionRoutes(services))
    .route("/", chatRoutes(services))
    .route("/", tokenizerRoutes(services))
    .route("/", fileRoutes(services))
    .route("/", fineTuningRoutes(services))
    .route("/", adapterRoutes(services))
    .route("/", runRoutes(services))
    .route("/", keyRoutes(services))
    .route("/", statusRoutes(services))
    .route("/", metricsRoutes(services));
  return new Hono<AppEnv>()
    .onError(onError)
    .notFound((c) => c.json(errorBody(new ApiError(404, `no route ${c.req.method} ${c.req.path}`)), 404))
    .use(requestId())
    .use(logRequests(log))
    .use(metrics.countRequests)
    .use(allowOrigins(settings.corsOrigins))
    .use(authenticate(settings.apiKey, services.store.keyBook))
    .use(limitRates())
    .use(limitBodies(services))
    .route("/", api)
    .route("/", docsRoutes(api))
    .route("/", dashboardRoutes());
}

export type AppType = ReturnType<typeof createApp>;

/** No other site's page may read an answer, unless it is one of these. */
function allowOrigins(origins: readonly string[]): MiddlewareHandler<AppEnv> {
  if (origins.length === 0) return (_, next) => next();
  return cors({
    origin: [...origins],
    allowHeaders: ["authorization", "content-type"],
    exposeHeaders: ["x-request-id"],
  });
}

/** Bodies have a size, and a time in which they must have arrived (readJson, readForm). */
function limitBodies({ settings }: Services): MiddlewareHandler<AppEnv> {
  const upTo = (maxSize: number) =>
    bodyLimit({
      maxSize,
      onError: () => {
        throw new ApiError(413, `the body is larger than ${maxSize} bytes`);
      },
    });
  const small = upTo(settings.bodyLimit);
  const large = upTo(settings.uploadLimit);
  return (c: Context<AppEnv>, next: Next) => {
    c.set("bodyTimeoutMs", settings.bodyTimeoutMs);
    const isUpload = /^\/v1\/(?:files|adapters)$/.test(c.req.path);
    return (isUpload ? large : small)(c, next);
  };
}
