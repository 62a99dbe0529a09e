/** What a run said of each doc, small enough to be kept for every run: two runs are compared pairwise without their sample files. */
import { DataError } from "@graft/core/errors";
import { z } from "zod";
import { exactNumber, fromJson, toJson } from "./json.ts";

export interface Item {
  /** First 16 hexadecimal digits of the doc's SHA-256: two of 10,000 docs share them once in 10^11 data sets. */
  readonly docHash: string;
  /** Of the primary metric: a number, or the numbers that a metric over the whole data set takes of a doc. */
  readonly value: number | readonly number[];
}

const DIGITS = 16;
const BYTES = DIGITS / 2;

const packed = z
  .object({ docs: z.base64(), values: z.array(z.union([exactNumber, z.array(exactNumber)])) })
  .refine(({ docs, values }) => Buffer.from(docs, "base64").length === values.length * BYTES, {
    message: "has not as many docs as values",
  });

/** In doc order. 10,000 docs of zeros and ones take 81 kB, nearly all of it the hashes. Throws DataError for a hash that is none. */
export function packItems(items: readonly Item[]): Uint8Array {
  const docs = Buffer.alloc(items.length * BYTES);
  for (const [i, { docHash }] of items.entries()) {
    if (!/^[0-9a-f]{16,}$/.test(docHash))
      throw new DataError(
        `item ${i + 1}: its doc's hash is 16 or more hexadecimal digits, not ${JSON.stringify(docHash)}`,
      );
    docs.write(docHash.slice(0, DIGITS), i * BYTES, "hex");
  }
  return Bun.gzipSync(toJson({ docs: docs.toString("base64"), values: items.map(({ value }) => value) }));
}

/** Throws DataError for bytes that `packItems` did not write. */
export function unpackItems(bytes: Uint8Array<ArrayBuffer>): Item[] {
  const where = "results.items";
  let text: string;
  try {
    text = new TextDecoder().decode(Bun.gunzipSync(bytes));
  } catch (cause) {
    throw new DataError(`${where}: cannot be unpacked; the database was changed by something else`, { cause });
  }
  const { docs, values } = fromJson(packed, text, where);
  const hashes = Buffer.from(docs, "base64");
  return values.map((value, i) => ({ docHash: hashes.toString("hex", i * BYTES, (i + 1) * BYTES), value }));
}
