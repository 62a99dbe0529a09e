/** Column types, SQLite's way. `../postgres/columns.ts` has the same names. */
import { customType, integer, real as float } from "drizzle-orm/sqlite-core";
import type { z } from "zod";
import { type Item, packItems, unpackItems } from "../items.ts";
import { fromJson, toJson } from "../json.ts";

export { index, primaryKey, sqliteTable as table, text } from "drizzle-orm/sqlite-core";

/** A whole number, exact to 2^53. */
export const whole = (name: string) => integer(name, { mode: "number" });

/** A double. */
export const real = (name: string) => float(name);

/** True or false. */
export const flag = (name: string) => integer(name, { mode: "boolean" });

/** To the millisecond. */
export const time = (name: string) => integer(name, { mode: "timestamp_ms" });

/** JSON in which every number comes back as it was. Reading throws DataError naming `where`, the table's and the column's name. */
export const json = <S extends z.ZodType>(schema: S, where: string) =>
  customType<{ data: z.output<S>; driverData: string }>({
    dataType: () => "text",
    toDriver: toJson,
    fromDriver: (text) => fromJson(schema, text, where),
  });

/** Items of a result, packed. */
export const packedItems = customType<{ data: readonly Item[]; driverData: Uint8Array<ArrayBuffer> }>({
  dataType: () => "blob",
  toDriver: (items) => packItems(items) as Uint8Array<ArrayBuffer>,
  fromDriver: unpackItems,
});
