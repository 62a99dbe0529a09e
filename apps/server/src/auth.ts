/** Bearer keys, compared in constant time. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { ApiError } from "./errors.ts";

/** Lets everything through if there is no key. /health stays open. */
export function bearerAuth(apiKey: string | undefined): MiddlewareHandler {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  const wanted = apiKey === undefined ? undefined : hash(apiKey);
  return async (c, next) => {
    if (wanted && c.req.path !== "/health") {
      const given = /^Bearer (.+)$/.exec(c.req.header("authorization") ?? "")?.[1];
      if (given === undefined || !timingSafeEqual(hash(given), wanted)) {
        throw new ApiError(401, "Incorrect API key provided: send `Authorization: Bearer KEY`", {
          type: "authentication_error",
          code: "invalid_api_key",
        });
      }
    }
    await next();
  };
}
