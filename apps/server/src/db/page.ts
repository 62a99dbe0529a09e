/** Lists in pieces, by cursor: what is new meanwhile shifts nothing. */
import { and, asc, desc, eq, gt, lt, or, type SQL } from "drizzle-orm";
import type { PgColumn } from "drizzle-orm/pg-core";

export interface PageOptions {
  /** Rows at the most. */
  readonly limit: number;
  /** Name of the row before the first one. */
  readonly after?: string | undefined;
}

export interface OrderedPageOptions extends PageOptions {
  /** By time; the newest first if nothing is said. */
  readonly order?: "asc" | "desc" | undefined;
}

export interface Page<T> {
  readonly data: readonly T[];
  /** Are there more after the last one? */
  readonly hasMore: boolean;
}

/** `rows` has one more than the limit where there is more. */
export function toPage<T>(rows: readonly T[], limit: number): Page<T> {
  return { data: rows.slice(0, limit), hasMore: rows.length > limit };
}

/** Order by time, then by name, and what comes after the row that `cursor` is of. */
export function byTime(
  columns: { readonly time: PgColumn; readonly name: PgColumn },
  order: "asc" | "desc" = "desc",
  cursor?: { readonly time: Date; readonly name: string },
): { readonly orderBy: [SQL, SQL]; readonly where: SQL | undefined } {
  const { time, name } = columns;
  const [direction, beyond] = order === "asc" ? [asc, gt] : [desc, lt];
  const where = cursor && or(beyond(time, cursor.time), and(eq(time, cursor.time), beyond(name, cursor.name)));
  return { orderBy: [direction(time), direction(name)], where };
}
