/** Who may do what: bearer keys with scopes. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import type { AppEnv } from "./app-env.ts";
import type { KeyIdentity, KeyStore, Scope } from "./db/index.ts";
import { ApiError } from "./errors.ts";

const EVERYBODY: KeyIdentity = {
  keyId: "",
  name: "",
  scopes: ["admin"],
  requestsPerMinute: null,
  tokensPerMinute: null,
};

/** Paths that need no key: they show nothing of anybody's. The dashboard's page asks for a key itself. */
const PUBLIC = /^\/(?:health|ready|metrics|openapi\.json|docs(?:\/.*)?|assets\/.*|favicon\.svg)?$/;

/** The first line that fits says what a path needs; what is not here needs admin. */
const NEEDS: readonly (readonly [RegExp, Scope])[] = [
  [/^\/v1\/(?:models|completions|chat\/completions|embeddings|status|runs)(?:\/|$)/, "infer"],
  [/^\/(?:tokenize|detokenize|tokenizer_info)$/, "infer"],
  [/^\/v1\/(?:files|fine_tuning|adapters)(?:\/|$)/, "train"],
];

/** The scope that a request needs; undefined: none. Deleting a model is training's business. */
export function scopeFor(method: string, path: string): Scope | undefined {
  if (PUBLIC.test(path)) return undefined;
  const scope = NEEDS.find(([pattern]) => pattern.test(path))?.[1] ?? "admin";
  return method === "DELETE" && scope === "infer" ? "train" : scope;
}

export const hashOfKey = (key: string): string => createHash("sha256").update(key).digest("hex");

/** A new key: 256 random bits. */
export const newKey = (): string => `gk-${randomBytes(32).toString("base64url")}`;

/**
 * Without `adminKey` and with no key in the book everybody may do everything. Keys are random, so a plain SHA-256 at rest is enough. Throws ApiError 401 and 403.
 */
export function authenticate(adminKey: string | undefined, book: KeyStore["keyBook"]): MiddlewareHandler<AppEnv> {
  const admin = adminKey === undefined ? undefined : Buffer.from(hashOfKey(adminKey));
  const identityOf = async (authorization: string | undefined): Promise<KeyIdentity | undefined> => {
    const given = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
    if (given === undefined) return undefined;
    const hash = hashOfKey(given);
    if (admin && timingSafeEqual(Buffer.from(hash), admin)) return { ...EVERYBODY, name: "--api-key" };
    return book.find(hash);
  };
  return async (c, next) => {
    const scope = scopeFor(c.req.method, c.req.path);
    if (scope === undefined || (admin === undefined && !(await book.hasKeys()))) {
      c.set("identity", EVERYBODY);
      return next();
    }
    const identity = await identityOf(c.req.header("authorization"));
    if (!identity) {
      c.header("www-authenticate", "Bearer");
      throw new ApiError(401, "Incorrect API key provided: send `Authorization: Bearer KEY`", {
        type: "authentication_error",
        code: "invalid_api_key",
      });
    }
    if (!identity.scopes.includes("admin") && !identity.scopes.includes(scope)) {
      throw new ApiError(403, `this key may not do that: it needs the scope ${scope}`, {
        type: "permission_error",
        code: "insufficient_scope",
      });
    }
    c.set("identity", identity);
    return next();
  };
}
