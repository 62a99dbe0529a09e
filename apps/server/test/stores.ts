/** The databases that every store test runs over. */
import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore, type Store, type StoreLocation } from "../src/db/index.ts";
import { testPostgres } from "./postgres.ts";

export interface StoreKind {
  readonly name: "sqlite" | "memory" | "postgres";
  /** A new empty database that can be opened several times; "memory" only once. */
  newLocation(): Promise<StoreLocation>;
}

const postgres = await testPostgres();
if (typeof postgres === "string") console.warn(`Postgres is not tested: ${postgres}`);

/** SQLite in a file, SQLite in memory, and Postgres where it can run. Folders go after the tests of the calling file. */
export function storeKinds(): readonly StoreKind[] {
  const scratch = mkdtempSync(join(tmpdir(), "stores-"));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  let made = 0;
  return [
    { name: "sqlite", newLocation: () => Promise.resolve({ path: join(scratch, `${made++}`, "graft.sqlite") }) },
    { name: "memory", newLocation: () => Promise.resolve({ path: ":memory:" }) },
    ...(typeof postgres === "string"
      ? []
      : [{ name: "postgres", newLocation: async () => ({ url: await postgres.newDatabase() }) } as const]),
  ];
}

/** Opens a new database for the work, and closes it whatever comes. */
export async function withNewStore<T>(kind: StoreKind, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(await kind.newLocation());
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
