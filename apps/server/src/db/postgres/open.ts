/** Postgres by URL, through node-postgres: of the drivers that drizzle has it is the one that outlives a connection which breaks in mid-transaction. */
import { DataError } from "@graft/core/errors";
import { DrizzleQueryError } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import { resolve } from "node:path";
import pg from "pg";
import { type Db, type Driver, StorageError } from "../driver.ts";
import * as tables from "./schema.ts";

const migrationsFolder = resolve(import.meta.dir, "../../../drizzle/postgres");
/** Of the advisory lock under which the schema is changed: any number that nobody else takes. */
const MIGRATION_LOCK = 0x67726166;
const CONNECT_MS = 10_000;

/**
 * Connects and brings the database to the newest schema; several processes may be connected.
 * Throws DataError for a server that cannot be reached or that refuses; what is said has no password in it.
 */
export async function openPostgres(url: string): Promise<Driver> {
  const where = shownUrl(url);
  try {
    await migrateAlone(url);
  } catch (error) {
    throw new DataError(
      `${where}: cannot be used as graft's database (${messageOf(error, url)}); check that the server runs, and the URL's name and password`,
    );
  }
  const pool = new pg.Pool({ connectionString: url, max: 10, connectionTimeoutMillis: CONNECT_MS, keepAlive: true });
  // A connection that breaks says so here too, whoever uses it, and nobody listening would end the process. Its query fails, and the pool makes a new one.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => void client.on("error", () => undefined));
  const db = drizzle(pool);
  const ask = async <T>(work: () => PromiseLike<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw storageError(where, url, error);
    }
  };
  const transaction = async <T>(begin: string, work: (db: Db) => Promise<T>): Promise<T> => {
    const client = await ask(() => pool.connect());
    let isBroken = true;
    try {
      await ask(() => client.query(begin));
      let result: T;
      try {
        result = await work(drizzle(client));
      } catch (error) {
        isBroken = await client.query("ROLLBACK").then(
          () => false,
          () => true,
        );
        throw error instanceof DrizzleQueryError ? storageError(where, url, error) : error;
      }
      await ask(() => client.query("COMMIT"));
      isBroken = false;
      return result;
    } finally {
      client.release(isBroken);
    }
  };
  return {
    tables,
    query: async (work) => {
      try {
        return await work(db);
      } catch (error) {
        throw error instanceof DrizzleQueryError ? storageError(where, url, error) : error;
      }
    },
    snapshot: (work) => transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", work),
    write: (work) => transaction("BEGIN", work),
    close: () => pool.end(),
  };
}

/** On a connection of its own, and no two processes at once. */
async function migrateAlone(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS });
  // What breaks fails its query too.
  client.on("error", () => undefined);
  await client.connect();
  try {
    await client.query("SELECT pg_advisory_lock($1)", [MIGRATION_LOCK]);
    await migrate(drizzle(client), { migrationsFolder, migrationsSchema: "public" });
  } finally {
    // Ends the connection, and with it the lock.
    await client.end();
  }
}

/** What may be shown of a URL: no password, no parameters. Throws DataError for text that is no URL, which is not shown. */
export function shownUrl(url: string): string {
  if (!URL.canParse(url) || !isDecodable(url))
    throw new DataError("the database's URL cannot be read; it looks so: postgres://user:password@host:5432/name");
  const { protocol, username, host, pathname } = new URL(url);
  return `${protocol}//${username === "" ? "" : `${username}@`}${host}${pathname}`;
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** The SQL and its values stay in the cause: they are nobody's business outside. */
function storageError(where: string, url: string, error: unknown): Error {
  const cause = causeOf(error);
  if (cause instanceof pg.DatabaseError && cause.code === "22021")
    return new DataError("text with a zero byte in it cannot be kept", { cause });
  return new StorageError(`${where}: ${messageOf(error, url)}`, { cause });
}

const causeOf = (error: unknown): unknown => (error instanceof DrizzleQueryError ? error.cause : error);

/** Without the password, wherever it may stand. */
function messageOf(error: unknown, url: string): string {
  const cause = causeOf(error);
  // Several addresses of a host make an AggregateError, which says nothing itself.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause;
  const said = first instanceof Error ? first.message || first.name : String(first);
  const { password } = new URL(url);
  return [password, decodeURIComponent(password)]
    .filter((secret) => secret !== "")
    .reduce((text, secret) => text.replaceAll(secret, "***"), said);
}
