/** Reading what comes in: what does not fit is a 400 that names the field. */
import type { Context } from "hono";
import type { z } from "zod";
import type { AppEnv } from "./app-env.ts";
import { ApiError } from "./errors.ts";

/** The body as JSON. Throws ApiError 400 for what is not JSON in UTF-8, 408 for a body that does not come; the body limit throws a 413. */
export async function readJson(c: Context<AppEnv>): Promise<unknown> {
  const bytes = await inTime(c, c.req.arrayBuffer());
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new ApiError(400, "the body is not valid JSON in UTF-8");
  }
}

/** The body as multipart/form-data. Throws ApiError 400 for what is none, and as readJson. */
export async function readForm(c: Context<AppEnv>): Promise<FormData> {
  const type = c.req.header("content-type") ?? "";
  if (!/^multipart\/form-data *;.*boundary=/i.test(type))
    throw new ApiError(400, "the body must be multipart/form-data with a boundary");
  try {
    return await inTime(c, c.req.formData());
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, "the body is no valid multipart/form-data");
  }
}

/** Throws ApiError 400 naming the first field that does not fit. */
export function parseWith<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const param = issue.path.join(".");
  throw new ApiError(400, `${param || "body"}: ${issue.message}`, param ? { param } : {});
}

async function inTime<T>(c: Context<AppEnv>, body: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const { bodyTimeoutMs } = c.var;
  const timer = setTimeout(
    () => reject(new ApiError(408, `the body did not arrive within ${bodyTimeoutMs / 1000} s`)),
    bodyTimeoutMs,
  );
  try {
    return await Promise.race([body, late]);
  } finally {
    clearTimeout(timer);
    // It may still fail when nobody waits any more.
    body.catch(() => undefined);
  }
}
