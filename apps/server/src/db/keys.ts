/** API keys: their hashes, and what they may do. */
import { and, desc, eq, isNull } from "drizzle-orm";
import { UnknownName } from "@graft/core/errors";
import type { Driver, Tables } from "./driver.ts";
import type { Scope } from "./shapes.ts";

export type KeyRow = Tables["apiKeys"]["$inferSelect"];
export type NewKey = Omit<KeyRow, "lastUsedAt" | "revokedAt">;

/** Whose request it is. */
export interface KeyIdentity {
  readonly keyId: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
}

export interface KeyStore {
  createKey(key: NewKey): Promise<KeyRow>;
  /** Those that are valid, the newest first. */
  keys(): Promise<readonly KeyRow[]>;
  /** A key that is valid. */
  findKey(hash: string): Promise<KeyRow | undefined>;
  /** Notes that a key was used; to the minute, so that not every request writes. */
  touchKey(key: Pick<KeyRow, "id" | "lastUsedAt">, at: Date): Promise<void>;
  /** The key is not accepted any more; its row stays. Throws UnknownName for one that is none or was revoked. */
  revokeKey(id: string, at: Date): Promise<void>;
  /** For authentication. */
  readonly keyBook: {
    hasKeys(): Promise<boolean>;
    find(sha256: string): Promise<KeyIdentity | undefined>;
  };
}

const MINUTE_MS = 60_000;

export function keyStore({ tables: { apiKeys }, query }: Driver, now: () => Date): KeyStore {
  const isValid = isNull(apiKeys.revokedAt);
  const findKey = async (hash: string): Promise<KeyRow | undefined> => {
    const [key] = await query((db) =>
      db
        .select()
        .from(apiKeys)
        .where(and(eq(apiKeys.hash, hash), isValid)),
    );
    return key;
  };
  const touchKey = async ({ id, lastUsedAt }: Pick<KeyRow, "id" | "lastUsedAt">, at: Date): Promise<void> => {
    if (lastUsedAt && at.getTime() - lastUsedAt.getTime() < MINUTE_MS) return;
    await query((db) => db.update(apiKeys).set({ lastUsedAt: at }).where(eq(apiKeys.id, id)));
  };
  return {
    findKey,
    touchKey,

    async createKey(key) {
      const [row] = await query((db) => db.insert(apiKeys).values(key).returning());
      return row!;
    },

    keys: () =>
      query((db) => db.select().from(apiKeys).where(isValid).orderBy(desc(apiKeys.createdAt), desc(apiKeys.id))),

    async revokeKey(id, at) {
      const rows = await query((db) =>
        db
          .update(apiKeys)
          .set({ revokedAt: at })
          .where(and(eq(apiKeys.id, id), isValid))
          .returning({ id: apiKeys.id }),
      );
      if (rows.length === 0) throw new UnknownName(`no key ${id}`);
    },

    keyBook: {
      async hasKeys() {
        const rows = await query((db) => db.select({ id: apiKeys.id }).from(apiKeys).where(isValid).limit(1));
        return rows.length > 0;
      },
      async find(sha256) {
        const key = await findKey(sha256);
        if (!key) return undefined;
        await touchKey(key, now());
        const { id: keyId, name, scopes, requestsPerMinute, tokensPerMinute } = key;
        return { keyId, name, scopes, requestsPerMinute, tokensPerMinute };
      },
    },
  };
}
