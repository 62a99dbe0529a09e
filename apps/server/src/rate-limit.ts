/** Requests and tokens per minute of each key, with OpenAI's headers. */
import type { MiddlewareHandler } from "hono";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { AppEnv } from "./app-env.ts";
import { ApiError } from "./errors.ts";

const KINDS = ["requests", "tokens"] as const;
type Kind = (typeof KINDS)[number];

/** A minute begins with a key's first request in it. Throws ApiError 429 with Retry-After. */
export function limitRates(): MiddlewareHandler<AppEnv> {
  // By limit: keys with the same one share a limiter, each with a count of its own.
  const limiters = new Map<string, RateLimiterMemory>();
  const limiterOf = (kind: Kind, points: number): RateLimiterMemory => {
    const id = `${kind}/${points}`;
    const known = limiters.get(id) ?? new RateLimiterMemory({ keyPrefix: id, points, duration: 60 });
    limiters.set(id, known);
    return known;
  };
  return async (c, next) => {
    const { keyId, requestsPerMinute, tokensPerMinute } = c.var.identity;
    const limits = { requests: requestsPerMinute, tokens: tokensPerMinute };
    for (const kind of KINDS) {
      const points = limits[kind];
      if (points === null) continue;
      const limiter = limiterOf(kind, points);
      // A request's tokens are known when it has ended.
      const state = kind === "requests" ? await consumed(limiter, keyId, 1) : await limiter.get(keyId);
      const left = Math.max(0, points - (state?.consumedPoints ?? 0));
      const seconds = Math.max(1, Math.ceil((state?.msBeforeNext ?? 0) / 1000));
      c.header(`x-ratelimit-limit-${kind}`, String(points));
      c.header(`x-ratelimit-remaining-${kind}`, String(left));
      c.header(`x-ratelimit-reset-${kind}`, `${seconds}s`);
      const isOver = (state?.consumedPoints ?? 0) >= points + (kind === "requests" ? 1 : 0);
      if (isOver) {
        throw new ApiError(
          429,
          `Rate limit reached: this key may have ${points} ${kind} a minute; try again in ${seconds} s`,
          { type: kind, code: "rate_limit_exceeded", retryAfterSeconds: seconds },
        );
      }
    }
    c.set("spendTokens", async (tokens) => {
      if (tokensPerMinute !== null) await consumed(limiterOf("tokens", tokensPerMinute), keyId, tokens);
    });
    await next();
  };
}

/** The state after so many more, over the limit or not. */
async function consumed(limiter: RateLimiterMemory, key: string, points: number): Promise<RateLimiterRes> {
  try {
    return await limiter.consume(key, points);
  } catch (over) {
    if (over instanceof RateLimiterRes) return over;
    throw over;
  }
}
