/** Column types, Postgres' way. `../sqlite/columns.ts` has the same names. */
import { bigint, boolean, customType, doublePrecision, timestamp } from "drizzle-orm/pg-core";
import type { z } from "zod";
import { type Item, packItems, unpackItems } from "../items.ts";
import { fromParsed, toJson } from "../json.ts";

export { index, pgTable as table, primaryKey, text } from "drizzle-orm/pg-core";

/** A whole number, exact to 2^53. */
export const whole = (name: string) => bigint(name, { mode: "number" });

/** A double. */
export const real = (name: string) => doublePrecision(name);

/** True or false. */
export const flag = (name: string) => boolean(name);

/** To the millisecond. */
export const time = (name: string) => timestamp(name, { mode: "date", precision: 3, withTimezone: true });

/** JSON in which every number comes back as it was. Reading throws DataError naming `where`, the table's and the column's name. */
export const json = <S extends z.ZodType>(schema: S, where: string) =>
  customType<{ data: z.output<S>; driverData: unknown }>({
    // Not jsonb: that sorts the keys, and takes no zero byte in a string.
    dataType: () => "json",
    toDriver: toJson,
    fromDriver: (value) => fromParsed(schema, value, where),
  });

/** Items of a result, packed. */
export const packedItems = customType<{ data: readonly Item[]; driverData: Uint8Array<ArrayBuffer> }>({
  dataType: () => "bytea",
  toDriver: (items) => Buffer.from(packItems(items)),
  fromDriver: unpackItems,
});
