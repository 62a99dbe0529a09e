/** The HTTP surface. One line for each resource. */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { requestId } from "hono/request-id";
import { bearerAuth } from "./auth.ts";
import { ApiError, errorBody, onError } from "./errors.ts";
import { adapterRoutes } from "./routes/adapters.ts";
import { chatRoutes } from "./routes/chat.ts";
import { completionRoutes } from "./routes/completions.ts";
import { healthRoutes } from "./routes/health.ts";
import { modelRoutes } from "./routes/models.ts";
import { tokenizerRoutes } from "./routes/tokenizer.ts";
import type { Services } from "./services.ts";

export function createApp(services: Services) {
  const tooLarge = () => {
    throw new ApiError(413, `the body is larger than ${services.bodyLimit} bytes`);
  };
  return new Hono()
    .onError(onError)
    .notFound((c) => c.json(errorBody(new ApiError(404, `no route ${c.req.method} ${c.req.path}`)), 404))
    .use(requestId())
    .use(bearerAuth(services.apiKey))
    .use(bodyLimit({ maxSize: services.bodyLimit, onError: tooLarge }))
    .route("/", healthRoutes(services))
    .route("/", modelRoutes(services))
    .route("/", completionRoutes(services))
    .route("/", chatRoutes(services))
    .route("/", adapterRoutes(services))
    .route("/", tokenizerRoutes(services));
}

export type AppType = ReturnType<typeof createApp>;
