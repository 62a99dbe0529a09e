/** Runs and their results. */
import { and, asc, desc, eq, inArray, sql } from "drizzle-orm";
import { DataError, suggest, UnknownName } from "@graft/core/errors";
import type { Db, Driver, Tables } from "./driver.ts";
import { newRunId } from "./run-id.ts";
import type { RunKind } from "./shapes.ts";

export type RunRow = Omit<Tables["runs"]["$inferSelect"], "ordinal">;
export type ResultRow = Omit<Tables["results"]["$inferSelect"], "position">;

/** What is known of a run when it begins. */
export type NewRun = Omit<RunRow, "id" | "state" | "error" | "createdAt" | "finishedAt">;
export type NewResult = Omit<ResultRow, "runId">;

/** A result without its items, for lists. */
export type ResultSummary = Pick<ResultRow, "task" | "scoring" | "primary" | "figures" | "count" | "contamination">;

export interface ListedRun extends RunRow {
  readonly results: readonly ResultSummary[];
}

/** A run with its results in the order in which they came. */
export interface RunDetails extends RunRow {
  readonly results: readonly ResultRow[];
}

export interface RunFilter {
  /** The newest ones. */
  readonly limit: number;
  readonly kind?: RunKind | undefined;
  /** As the run was given it. */
  readonly model?: string | undefined;
  /** Only runs with a result of this task. */
  readonly task?: string | undefined;
}

export interface RunStore {
  /** A run that begins. Returns its id. */
  createRun(run: NewRun, at: Date): Promise<string>;
  /** What a run says of a task; what it said of it before is replaced. Throws UnknownName, DataError for a run that has ended. */
  addResult(runId: string, result: NewResult): Promise<void>;
  /** Kernel texts are known when all have run. Throws UnknownName, DataError for a run that has ended. */
  finishRun(id: string, end: Pick<RunRow, "kernelHash">, at: Date): Promise<void>;
  /** For a run that did not come to its end; its results stay. Throws UnknownName, DataError for a run that has ended. */
  failRun(id: string, end: { readonly state: "stopped" | "failed"; readonly error: string }, at: Date): Promise<void>;
  /** The newest runs first. */
  runs(filter: RunFilter): Promise<ListedRun[]>;
  /** The run with this id, or the only one whose id begins so. Throws UnknownName with near ids, or with those that begin so if there are several. */
  run(idOrPrefix: string): Promise<RunDetails>;
}

export function runStore({ tables: { runs, results }, snapshot, write }: Driver): RunStore {
  /** Locks the run's row until the transaction ends. */
  async function lockRunning(tx: Db, id: string): Promise<void> {
    const [run] = await tx.update(runs).set({ id }).where(eq(runs.id, id)).returning({ state: runs.state });
    if (!run) throw new UnknownName(`no run ${id}`);
    if (run.state !== "running") throw new DataError(`run ${id} is ${run.state}: nothing can be added to it`);
  }

  const endRun = (id: string, end: Partial<RunRow>): Promise<void> =>
    write(async (tx) => {
      await lockRunning(tx, id);
      await tx.update(runs).set(end).where(eq(runs.id, id));
    });

  async function onlyId(tx: Db, idOrPrefix: string): Promise<string> {
    // Of these letters ids are made: nothing else needs to be looked for.
    const isPossible = /^[0-9a-z-]+$/.test(idOrPrefix);
    const begins = sql`substr(${runs.id}, 1, ${sql.raw(String(idOrPrefix.length))}) = ${idOrPrefix}`;
    const found = isPossible ? await tx.select({ id: runs.id }).from(runs).where(begins).orderBy(desc(runs.id)) : [];
    const ids = found.map(({ id }) => id);
    if (ids.length === 1) return ids[0]!;
    if (ids.includes(idOrPrefix)) return idOrPrefix;
    if (ids.length > 1)
      throw new UnknownName(`several runs begin with "${idOrPrefix}"; give more of the id: ${listed(ids)}`);
    const newest = await tx.select({ id: runs.id }).from(runs).orderBy(desc(runs.id)).limit(1000);
    const near = newest.map(({ id }) => id);
    throw new UnknownName(`no run "${idOrPrefix}"${suggest(idOrPrefix, near, 5)}`);
  }

  return {
    createRun: (run, at) =>
      write(async (tx) => {
        const id = newRunId(at);
        const [last] = await tx.select({ ordinal: runs.ordinal }).from(runs).orderBy(desc(runs.ordinal)).limit(1);
        await tx
          .insert(runs)
          .values({ ...run, id, ordinal: (last?.ordinal ?? 0) + 1, state: "running", createdAt: at });
        return id;
      }),

    addResult: (runId, result) =>
      write(async (tx) => {
        await lockRunning(tx, runId);
        const [last] = await tx
          .select({ position: results.position })
          .from(results)
          .where(eq(results.runId, runId))
          .orderBy(desc(results.position))
          .limit(1);
        await tx
          .insert(results)
          .values({ ...result, runId, position: (last?.position ?? 0) + 1 })
          .onConflictDoUpdate({ target: [results.runId, results.task], set: result });
      }),

    finishRun: (id, { kernelHash }, at) => endRun(id, { state: "finished", kernelHash, finishedAt: at }),

    failRun: (id, { state, error }, at) => endRun(id, { state, error, finishedAt: at }),

    runs: ({ limit, kind, model, task }) =>
      snapshot(async (tx) => {
        const withTask =
          task === undefined
            ? undefined
            : inArray(runs.id, tx.select({ id: results.runId }).from(results).where(eq(results.task, task)));
        const rows = await tx
          .select()
          .from(runs)
          .where(
            and(
              kind === undefined ? undefined : eq(runs.kind, kind),
              model === undefined ? undefined : eq(runs.model, model),
              withTask,
            ),
          )
          .orderBy(desc(runs.createdAt), desc(runs.ordinal))
          .limit(limit);
        const { runId, task: name, scoring, primary, figures, count, contamination } = results;
        const found = await tx
          .select({ runId, task: name, scoring, primary, figures, count, contamination })
          .from(results)
          .where(
            inArray(
              runId,
              rows.map(({ id }) => id),
            ),
          )
          .orderBy(asc(results.position));
        const ofRun = Map.groupBy(found, (result) => result.runId);
        return rows.map(({ ordinal: _ordinal, ...run }) => ({
          ...run,
          results: (ofRun.get(run.id) ?? []).map(({ runId: _runId, ...result }) => result),
        }));
      }),

    run: (idOrPrefix) =>
      snapshot(async (tx) => {
        const id = await onlyId(tx, idOrPrefix);
        const [run] = await tx.select().from(runs).where(eq(runs.id, id));
        const rows = await tx.select().from(results).where(eq(results.runId, id)).orderBy(asc(results.position));
        const { ordinal: _ordinal, ...own } = run!;
        return { ...own, results: rows.map(({ position: _position, ...result }) => result) };
      }),
  };
}

function listed(ids: readonly string[]): string {
  return ids.length > 5 ? `${ids.slice(0, 5).join(", ")}, and ${ids.length - 5} more` : ids.join(", ");
}
