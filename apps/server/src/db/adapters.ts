/** Adapters: names, the versions behind them, and which one is current. */
import { and, asc, count, desc, eq, inArray, isNotNull, isNull, lt, sql } from "drizzle-orm";
import { UnknownName } from "@graft/core/errors";
import { ApiError } from "../errors.ts";
import type { Db, Driver, Tables } from "./driver.ts";
import { byTime, type Page, type PageOptions, toPage } from "./page.ts";

export type AdapterRow = Tables["adapters"]["$inferSelect"];
export type VersionRow = Tables["adapterVersions"]["$inferSelect"];
export type NewVersion = Omit<VersionRow, "adapter" | "number" | "createdAt" | "publishedAt">;

export interface AdapterDetails extends AdapterRow {
  /** What requests get; null: nothing is published. */
  readonly current: VersionRow | null;
  readonly versionCount: number;
}

export interface AdapterStore {
  /** A new version of `name`, which is made if nobody has it; its files are on disk already. Numbers grow from 1 and are not given twice. */
  createVersion(name: string, version: NewVersion, at: Date, options?: { publish?: boolean }): Promise<VersionRow>;
  /** Makes a version the current one. Nothing happens if it is. Throws UnknownName. */
  publishVersion(name: string, number: number, at: Date): Promise<VersionRow>;
  /** What `rollbackAdapter` would go back to; throws what it throws. */
  previousVersion(name: string): Promise<VersionRow>;
  /** Requests no longer find it; its versions stay, and a rollback brings the last one back. Throws UnknownName. */
  unpublishAdapter(name: string): Promise<void>;
  /** Back to what was published before. Throws UnknownName; ApiError 409 if nothing was. */
  rollbackAdapter(name: string, at: Date): Promise<VersionRow>;
  /** Throws UnknownName. */
  pinAdapter(name: string, isPinned: boolean): Promise<AdapterRow>;
  /** Corrects what a database of before did not know of a version. Throws UnknownName. */
  describeVersion(
    name: string,
    number: number,
    facts: Pick<VersionRow, "hash" | "method" | "parameters" | "bytes" | "virtualTokens">,
  ): Promise<VersionRow>;
  /** Returns its versions, whose files may go if nobody else has them (`isVersionUsed`). Throws UnknownName. */
  deleteAdapter(name: string): Promise<readonly VersionRow[]>;
  /** As deleteAdapter. Throws UnknownName; ApiError 409 for the current one. */
  deleteVersion(name: string, number: number): Promise<VersionRow>;
  /** Throws UnknownName. */
  adapter(name: string): Promise<AdapterDetails>;
  /** Undefined for one that is not there. */
  findAdapter(name: string): Promise<AdapterRow | undefined>;
  /** The newest names first. Throws UnknownName for an `after` that is no adapter. */
  adapters(page: PageOptions): Promise<Page<AdapterDetails>>;
  /** All that have a current version, the oldest first: what a server starts with. */
  publishedAdapters(): Promise<readonly { readonly adapter: AdapterRow; readonly version: VersionRow }[]>;
  /** Throws UnknownName. */
  version(name: string, number: number): Promise<VersionRow>;
  /** The newest first; `after` is a number. Throws UnknownName for the adapter. */
  versions(
    name: string,
    page: { readonly limit: number; readonly after?: number | undefined },
  ): Promise<Page<VersionRow>>;
  /** The newest version with these files. */
  findVersionByHash(name: string, hash: string): Promise<VersionRow | undefined>;
  /** Is there a version of any adapter whose files the data directory has under this hash? */
  isVersionUsed(hash: string): Promise<boolean>;
}

/** In a transaction of the caller's. */
export async function insertVersion(
  tx: Db,
  tables: Tables,
  name: string,
  version: NewVersion,
  at: Date,
  { publish = false }: { publish?: boolean } = {},
): Promise<VersionRow> {
  const { adapters, adapterVersions } = tables;
  const [adapter] = await tx
    .insert(adapters)
    .values({ name, currentVersion: null, lastVersion: 1, isPinned: false, createdAt: at })
    .onConflictDoUpdate({ target: adapters.name, set: { lastVersion: sql`${adapters.lastVersion} + 1` } })
    .returning();
  const number = adapter!.lastVersion;
  const [row] = await tx
    .insert(adapterVersions)
    .values({ ...version, adapter: name, number, createdAt: at, publishedAt: null })
    .returning();
  return publish ? publishLocked(tx, tables, adapter!, number, at) : row!;
}

/** The adapter's row, which the transaction has alone until it ends. Throws UnknownName. */
async function lockAdapter(tx: Db, { adapters }: Tables, name: string): Promise<AdapterRow> {
  const [adapter] = await tx.update(adapters).set({ name }).where(eq(adapters.name, name)).returning();
  if (!adapter) throw new UnknownName(`no adapter "${name}"`);
  return adapter;
}

async function publishLocked(
  tx: Db,
  tables: Tables,
  adapter: AdapterRow,
  number: number,
  at: Date,
): Promise<VersionRow> {
  const { adapterPublications: publications } = tables;
  const { name } = adapter;
  if (adapter.currentVersion === number) return selectVersion(tx, tables, name, number);
  const version = await setCurrent(tx, tables, name, number, at);
  const [last] = await tx
    .select()
    .from(publications)
    .where(eq(publications.adapter, name))
    .orderBy(desc(publications.position))
    .limit(1);
  await tx.insert(publications).values({ adapter: name, position: (last?.position ?? 0) + 1, number, at });
  return version;
}

async function setCurrent(tx: Db, { adapters, adapterVersions }: Tables, name: string, number: number, at: Date) {
  const [version] = await tx
    .update(adapterVersions)
    .set({ publishedAt: at })
    .where(and(eq(adapterVersions.adapter, name), eq(adapterVersions.number, number)))
    .returning();
  if (!version) throw unknownVersion(name, number);
  await tx.update(adapters).set({ currentVersion: number }).where(eq(adapters.name, name));
  return version;
}

async function selectVersion(db: Db, { adapterVersions }: Tables, name: string, number: number): Promise<VersionRow> {
  // What no number of a version can be is no question for a database: Postgres would not take it.
  const rows = Number.isSafeInteger(number)
    ? await db
        .select()
        .from(adapterVersions)
        .where(and(eq(adapterVersions.adapter, name), eq(adapterVersions.number, number)))
    : [];
  if (!rows[0]) throw unknownVersion(name, number);
  return rows[0];
}

const unknownVersion = (name: string, number: number): UnknownName =>
  new UnknownName(`adapter "${name}" has no version ${number}`);

export function adapterStore(driver: Driver): AdapterStore {
  const { tables, query, snapshot, write } = driver;
  const { adapters, adapterVersions, adapterPublications: publications } = tables;

  async function details(tx: Db, rows: readonly AdapterRow[]): Promise<AdapterDetails[]> {
    const names = rows.map(({ name }) => name);
    const counts = await tx
      .select({ name: adapterVersions.adapter, versions: count() })
      .from(adapterVersions)
      .where(inArray(adapterVersions.adapter, names))
      .groupBy(adapterVersions.adapter);
    const found = await tx
      .select({ version: adapterVersions })
      .from(adapters)
      .innerJoin(adapterVersions, isCurrent)
      .where(inArray(adapters.name, names));
    const current = new Map(found.map(({ version }) => [version.adapter, version]));
    const versions = new Map(counts.map((row) => [row.name, row.versions]));
    return rows.map((row) => ({
      ...row,
      current: current.get(row.name) ?? null,
      versionCount: versions.get(row.name) ?? 0,
    }));
  }

  const isCurrent = and(
    eq(adapterVersions.adapter, adapters.name),
    eq(adapterVersions.number, adapters.currentVersion),
  );

  async function selectAdapter(tx: Db, name: string): Promise<AdapterRow> {
    const [row] = await tx.select().from(adapters).where(eq(adapters.name, name));
    if (!row) throw new UnknownName(`no adapter "${name}"`);
    return row;
  }

  /** The number that was published before the current one, and the positions of what came after it. Throws ApiError 409 if there is none. */
  async function lastPublications(
    tx: Db,
    { name, currentVersion }: AdapterRow,
  ): Promise<{ before: number; gone: number[] }> {
    const history = await tx
      .select()
      .from(publications)
      .where(eq(publications.adapter, name))
      .orderBy(desc(publications.position));
    // Deleting a version may have left the current one twice in a row.
    const at = history.findIndex(({ number }) => number !== currentVersion);
    if (at === -1)
      throw new ApiError(409, `adapter "${name}": no other version was published before`, { code: "wrong_state" });
    return { before: history[at]!.number, gone: history.slice(0, at).map(({ position }) => position) };
  }

  return {
    createVersion: (name, version, at, options) => write((tx) => insertVersion(tx, tables, name, version, at, options)),

    publishVersion: (name, number, at) =>
      write(async (tx) => {
        const adapter = await lockAdapter(tx, tables, name);
        await selectVersion(tx, tables, name, number);
        return publishLocked(tx, tables, adapter, number, at);
      }),

    previousVersion: (name) =>
      snapshot(async (tx) => {
        const { before } = await lastPublications(tx, await selectAdapter(tx, name));
        return selectVersion(tx, tables, name, before);
      }),

    async unpublishAdapter(name) {
      const rows = await query((db) =>
        db.update(adapters).set({ currentVersion: null }).where(eq(adapters.name, name)).returning(),
      );
      if (!rows[0]) throw new UnknownName(`no adapter "${name}"`);
    },

    rollbackAdapter: (name, at) =>
      write(async (tx) => {
        const { before, gone } = await lastPublications(tx, await lockAdapter(tx, tables, name));
        await tx.delete(publications).where(and(eq(publications.adapter, name), inArray(publications.position, gone)));
        return setCurrent(tx, tables, name, before, at);
      }),

    async pinAdapter(name, isPinned) {
      const [row] = await query((db) =>
        db.update(adapters).set({ isPinned }).where(eq(adapters.name, name)).returning(),
      );
      if (!row) throw new UnknownName(`no adapter "${name}"`);
      return row;
    },

    async describeVersion(name, number, facts) {
      const [row] = await query((db) =>
        db
          .update(adapterVersions)
          .set(facts)
          .where(and(eq(adapterVersions.adapter, name), eq(adapterVersions.number, number)))
          .returning(),
      );
      if (!row) throw unknownVersion(name, number);
      return row;
    },

    deleteAdapter: (name) =>
      write(async (tx) => {
        await lockAdapter(tx, tables, name);
        const versions = await tx
          .select()
          .from(adapterVersions)
          .where(eq(adapterVersions.adapter, name))
          .orderBy(desc(adapterVersions.number));
        await tx.delete(adapters).where(eq(adapters.name, name));
        return versions;
      }),

    deleteVersion: (name, number) =>
      write(async (tx) => {
        const { currentVersion } = await lockAdapter(tx, tables, name);
        const version = await selectVersion(tx, tables, name, number);
        if (currentVersion === number)
          throw new ApiError(
            409,
            `adapter "${name}": version ${number} is the current one; publish another one first`,
            {
              code: "wrong_state",
            },
          );
        await tx
          .delete(adapterVersions)
          .where(and(eq(adapterVersions.adapter, name), eq(adapterVersions.number, number)));
        await tx.delete(publications).where(and(eq(publications.adapter, name), eq(publications.number, number)));
        return version;
      }),

    adapter: (name) => snapshot(async (tx) => (await details(tx, [await selectAdapter(tx, name)]))[0]!),

    async findAdapter(name) {
      const [row] = await query((db) => db.select().from(adapters).where(eq(adapters.name, name)));
      return row;
    },

    adapters: ({ limit, after }) =>
      snapshot(async (tx) => {
        const last = after === undefined ? undefined : await selectAdapter(tx, after);
        const { orderBy, where } = byTime(
          { time: adapters.createdAt, name: adapters.name },
          "desc",
          last && { time: last.createdAt, name: last.name },
        );
        const rows = await tx
          .select()
          .from(adapters)
          .where(where)
          .orderBy(...orderBy)
          .limit(limit + 1);
        const { data, hasMore } = toPage(rows, limit);
        return { data: await details(tx, data), hasMore };
      }),

    publishedAdapters: () =>
      query((db) =>
        db
          .select({ adapter: adapters, version: adapterVersions })
          .from(adapters)
          .innerJoin(adapterVersions, isCurrent)
          .where(isNotNull(adapters.currentVersion))
          .orderBy(asc(adapters.createdAt), asc(adapters.name)),
      ),

    version: (name, number) => query((db) => selectVersion(db, tables, name, number)),

    versions: (name, { limit, after }) =>
      snapshot(async (tx) => {
        await selectAdapter(tx, name);
        const isOlder = after === undefined ? undefined : lt(adapterVersions.number, after);
        const rows = await tx
          .select()
          .from(adapterVersions)
          .where(and(eq(adapterVersions.adapter, name), isOlder))
          .orderBy(desc(adapterVersions.number))
          .limit(limit + 1);
        return toPage(rows, limit);
      }),

    async findVersionByHash(name, hash) {
      const [row] = await query((db) =>
        db
          .select()
          .from(adapterVersions)
          .where(and(eq(adapterVersions.adapter, name), eq(adapterVersions.hash, hash)))
          .orderBy(desc(adapterVersions.number))
          .limit(1),
      );
      return row;
    },

    async isVersionUsed(hash) {
      const rows = await query((db) =>
        db
          .select({ number: adapterVersions.number })
          .from(adapterVersions)
          .where(and(eq(adapterVersions.hash, hash), isNull(adapterVersions.path)))
          .limit(1),
      );
      return rows.length > 0;
    },
  };
}
