/** Reading request bodies: what does not fit is a 400 that names the field. */
import type { Context } from "hono";
import type { z } from "zod";
import { ApiError } from "./errors.ts";

export async function readBody<T extends z.ZodType>(c: Context, schema: T): Promise<z.output<T>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(await c.req.arrayBuffer()));
  } catch (cause) {
    if (cause instanceof ApiError) throw cause;
    throw new ApiError(400, "the body is not valid JSON in UTF-8");
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const param = issue.path.join(".");
  throw new ApiError(400, `${param || "body"}: ${issue.message}`, param ? { param } : {});
}
