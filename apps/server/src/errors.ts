/** Errors as OpenAI's API shapes them. */
import { CheckpointError, ConfigError, DataError, DeadlineExceeded, EngineBusy, UnknownName } from "@graft/core/errors";
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { z } from "zod";
import type { AppEnv } from "./app-env.ts";

/** What every error looks like. */
export const errorSchema = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable().describe("the field that is wrong"),
    code: z.string().nullable(),
  }),
});

/** The engine's process is not there: it died and is started again, or the server is closing. Nothing is wrong with the request. */
export class EngineUnavailable extends Error {
  override name = "EngineUnavailable";
  /** When to try again. */
  readonly retryAfterSeconds: number;

  constructor(message: string, retryAfterSeconds: number) {
    super(message);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export class ApiError extends Error {
  override name = "ApiError";
  readonly status: ContentfulStatusCode;
  readonly type: string;
  readonly code: string | null;
  readonly param: string | null;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    status: ContentfulStatusCode,
    message: string,
    details: { type?: string; code?: string; param?: string; retryAfterSeconds?: number } = {},
  ) {
    super(message);
    this.status = status;
    this.type = details.type ?? (status >= 500 ? "server_error" : "invalid_request_error");
    this.code = details.code ?? null;
    this.param = details.param ?? null;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }
}

export function errorBody(error: unknown) {
  const api = toApiError(error);
  return { error: { message: api.message, type: api.type, param: api.param, code: api.code } };
}

/** Classes to statuses, in one place. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof UnknownName) return new ApiError(404, error.message, { code: "not_found" });
  if (error instanceof DataError || error instanceof ConfigError || error instanceof CheckpointError)
    return new ApiError(400, error.message);
  if (error instanceof EngineUnavailable || error instanceof EngineBusy) {
    const { message, retryAfterSeconds } = error;
    const code = error instanceof EngineBusy ? "engine_busy" : "engine_unavailable";
    return new ApiError(503, message, { code, retryAfterSeconds });
  }
  if (error instanceof DeadlineExceeded) return new ApiError(504, error.message, { code: "deadline_exceeded" });
  return new ApiError(500, error instanceof Error ? error.message : String(error));
}

export function onError(error: Error, c: Context<AppEnv>) {
  const api = toApiError(error);
  if (api.status >= 500 && api.status !== 503 && api.status !== 504) c.var.log?.error({ err: error }, "unexpected");
  if (api.retryAfterSeconds !== undefined) c.header("retry-after", String(api.retryAfterSeconds));
  return c.json(errorBody(api), api.status);
}
