/** /v1/keys: API keys. A key is shown once, when it is made; what is kept is its hash. */
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { hashOfKey, newKey } from "../auth.ts";
import { type KeyRow, scopes } from "../db/index.ts";
import { describe, jsonBody } from "../describe.ts";
import type { Services } from "../services.ts";
import { unixSeconds } from "../unix-seconds.ts";

const limit = z.int().min(1).nullish();
const bodySchema = z.object({
  name: z.string().min(1).max(100).describe("who it is for"),
  scopes: z.array(z.enum(scopes)).min(1).default(["infer"]),
  requests_per_minute: limit,
  tokens_per_minute: limit,
});

const keySchema = z.object({
  object: z.literal("api_key"),
  id: z.string(),
  name: z.string(),
  /** How the key begins. */
  prefix: z.string(),
  scopes: z.array(z.enum(scopes)),
  requests_per_minute: z.int().nullable(),
  tokens_per_minute: z.int().nullable(),
  created_at: z.int(),
  last_used_at: z.int().nullable(),
});

export function keyRoutes({ store, newId, now }: Services) {
  return new Hono<AppEnv>()
    .post(
      "/v1/keys",
      describe({
        tag: "Keys",
        summary: "Make a key",
        description: "The answer is the only place where `key` stands. The first key closes a server that was open.",
        response: keySchema.extend({ key: z.string() }),
        errors: [403],
      }),
      jsonBody(bodySchema),
      async (c) => {
        const body = c.req.valid("json");
        const key = newKey();
        const row = await store.createKey({
          id: newId("key"),
          name: body.name,
          hash: hashOfKey(key),
          prefix: key.slice(0, 7),
          scopes: body.scopes,
          requestsPerMinute: body.requests_per_minute ?? null,
          tokensPerMinute: body.tokens_per_minute ?? null,
          createdAt: now(),
        });
        return c.json({ ...keyObject(row), key });
      },
    )
    .get(
      "/v1/keys",
      describe({
        tag: "Keys",
        summary: "List keys",
        response: z.object({ object: z.literal("list"), data: z.array(keySchema) }),
        errors: [403],
      }),
      async (c) => c.json({ object: "list" as const, data: (await store.keys()).map(keyObject) }),
    )
    .delete(
      "/v1/keys/:id",
      describe({
        tag: "Keys",
        summary: "Revoke a key",
        response: z.object({ id: z.string(), object: z.literal("api_key"), deleted: z.literal(true) }),
        errors: [403, 404],
      }),
      async (c) => {
        const id = c.req.param("id");
        await store.revokeKey(id, now());
        return c.json({ id, object: "api_key" as const, deleted: true as const });
      },
    );
}

function keyObject(row: KeyRow): z.output<typeof keySchema> {
  return {
    object: "api_key",
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    scopes: [...row.scopes],
    requests_per_minute: row.requestsPerMinute,
    tokens_per_minute: row.tokensPerMinute,
    created_at: unixSeconds(row.createdAt),
    last_used_at: row.lastUsedAt && unixSeconds(row.lastUsedAt),
  };
}
