import { expect, test } from "bun:test";
import { Hono } from "hono";
import type { AppEnv } from "./app-env.ts";
import { authenticate, hashOfKey, newKey, scopeFor } from "./auth.ts";
import type { KeyIdentity, KeyStore, Scope } from "./db/index.ts";
import { onError } from "./errors.ts";
import { limitRates } from "./rate-limit.ts";

type Own = Partial<Pick<KeyIdentity, "requestsPerMinute" | "tokensPerMinute">>;

/** An app that says who asks and spends so many tokens as ?tokens= says; keys by the scope they have. */
function appWith(
  keys: Readonly<Record<string, readonly Scope[]>>,
  { adminKey, ...own }: Own & { adminKey?: string } = {},
) {
  const identities = new Map<string, KeyIdentity>(
    Object.entries(keys).map(([key, scopes]) => [
      hashOfKey(key),
      { keyId: key, name: key, scopes, requestsPerMinute: null, tokensPerMinute: null, ...own },
    ]),
  );
  const book: KeyStore["keyBook"] = {
    hasKeys: () => Promise.resolve(identities.size > 0),
    find: (hash) => Promise.resolve(identities.get(hash)),
  };
  const app = new Hono<AppEnv>()
    .onError(onError)
    .use(authenticate(adminKey, book))
    .use(limitRates())
    .all("*", async (c) => {
      await c.var.spendTokens(Number(c.req.query("tokens") ?? 0));
      return c.text(c.var.identity.name);
    });
  return (path: string, key?: string, method = "GET") =>
    app.request(path, { method, headers: key === undefined ? {} : { authorization: `Bearer ${key}` } });
}

test("a server without any key is open; the first key closes it", async () => {
  expect((await appWith({})("/v1/keys")).status).toBe(200);
  const ask = appWith({ one: ["infer"] });
  const refused = await ask("/v1/models");
  expect(refused.status).toBe(401);
  expect(refused.headers.get("www-authenticate")).toBe("Bearer");
  expect(await refused.json()).toMatchObject({ error: { type: "authentication_error", code: "invalid_api_key" } });
  expect((await ask("/v1/models", "one")).status).toBe(200);
  expect((await ask("/v1/models", "another")).status).toBe(401);
  expect((await ask("/v1/models", "")).status).toBe(401);
});

test("the key of the command line may do everything, beside those of the book", async () => {
  const ask = appWith({ one: ["infer"] }, { adminKey: "root" });
  for (const path of ["/v1/models", "/v1/files", "/v1/keys", "/anything"])
    expect((await ask(path, "root")).status).toBe(200);
  expect((await appWith({}, { adminKey: "root" })("/v1/models")).status).toBe(401);
  expect(await (await ask("/v1/models", "one")).text()).toBe("one");
});

test("a path needs the scope of what it does, and what nobody thought of needs admin", async () => {
  const cases: readonly (readonly [string, string, Scope | undefined])[] = [
    ["GET", "/health", undefined],
    ["GET", "/", undefined],
    ["GET", "/metrics", undefined],
    ["GET", "/docs/swagger-ui.css", undefined],
    ["GET", "/v1/models", "infer"],
    ["GET", "/v1/models/a/b", "infer"],
    ["DELETE", "/v1/models/a", "train"],
    ["POST", "/v1/chat/completions", "infer"],
    ["POST", "/tokenize", "infer"],
    ["POST", "/v1/files", "train"],
    ["GET", "/v1/fine_tuning/jobs/x/events", "train"],
    ["POST", "/v1/adapters/x/publish", "train"],
    ["POST", "/v1/load_lora_adapter", "admin"],
    ["GET", "/v1/keys", "admin"],
    ["GET", "/v1/modelsx", "admin"],
    ["GET", "/healthz", "admin"],
    ["GET", "//v1/models", "admin"],
  ];
  const ask = appWith({ infer: ["infer"], train: ["train"], admin: ["admin"] });
  for (const [method, path, scope] of cases) {
    expect(scopeFor(method, path), path).toBe(scope);
    for (const key of ["infer", "train", "admin"]) {
      const isAllowed = scope === undefined || key === scope || key === "admin";
      expect((await ask(`http://host${path}`, key, method)).status, `${key} ${path}`).toBe(isAllowed ? 200 : 403);
    }
  }
  expect(await (await ask("/v1/keys", "infer")).json()).toMatchObject({ error: { code: "insufficient_scope" } });
});

test("keys are long, random, and known by their hash alone", () => {
  const [one, two] = [newKey(), newKey()];
  expect(one).toMatch(/^gk-[\w-]{43}$/);
  expect(one).not.toBe(two);
  expect(hashOfKey(one)).toMatch(/^[0-9a-f]{64}$/);
});

test("a key has its requests a minute, counted for itself, then 429 with Retry-After", async () => {
  const ask = appWith({ a: ["infer"], b: ["infer"] }, { requestsPerMinute: 2 });
  const answers = [await ask("/v1/models", "a"), await ask("/v1/models", "a"), await ask("/v1/models", "a")];
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 429]);
  expect(answers.map(({ headers }) => headers.get("x-ratelimit-remaining-requests"))).toEqual(["1", "0", "0"]);
  const seconds = Number(answers[2]!.headers.get("retry-after"));
  expect(seconds).toBeGreaterThanOrEqual(1);
  expect(seconds).toBeLessThanOrEqual(60);
  expect(await answers[2]!.json()).toMatchObject({ error: { type: "requests", code: "rate_limit_exceeded" } });
  expect((await ask("/v1/models", "b")).status).toBe(200);
});

test("tokens count when a request has ended: the one that goes over is answered, the next is not", async () => {
  const ask = appWith({ a: ["infer"] }, { tokensPerMinute: 100 });
  expect((await ask("/v1/models?tokens=60", "a")).status).toBe(200);
  expect((await ask("/v1/models?tokens=60", "a")).status).toBe(200);
  const refused = await ask("/v1/models", "a");
  expect(refused.status).toBe(429);
  expect(await refused.json()).toMatchObject({ error: { type: "tokens" } });
});
