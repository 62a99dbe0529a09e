/** Adapters and versions as the API shows them. */
import type { AdapterInfo } from "@graft/core/engine";
import { z } from "zod";
import type { AdapterDetails, Store, VersionRow } from "../db/index.ts";
import { sourceSchema } from "../db/shapes.ts";
import { unixSeconds } from "../unix-seconds.ts";

const facts = {
  method: z.string(),
  parameters: z.int().describe("trained numbers"),
  bytes: z.int().describe("in memory and on the device"),
  virtual_tokens: z.int().describe("that it puts before each sequence"),
};

export const versionSchema = z.object({
  object: z.literal("adapter.version"),
  /** For pages. */
  id: z.string(),
  name: z.string(),
  version: z.int(),
  hash: z.string().describe("of the files"),
  source: sourceSchema,
  ...facts,
  created_at: z.int(),
  published_at: z.int().nullable().describe("when it last became the current one"),
  is_current: z.boolean(),
});

const { method, parameters, bytes, virtual_tokens } = facts;
export const adapterSchema = z.object({
  object: z.literal("adapter"),
  id: z.string().describe("the name"),
  name: z.string(),
  current_version: z.int().nullable().describe("that requests get; null: none is published"),
  hash: z.string().nullable(),
  method: method
    .nullable()
    .describe("of the current version, or the newest where none is published; the next three too"),
  parameters: parameters.nullable(),
  bytes: bytes.nullable(),
  virtual_tokens: virtual_tokens.nullable(),
  pinned: z.boolean(),
  tier: z.enum(["disk", "host", "device"]).nullable().describe("where its values are; null: it is not served"),
  created_at: z.int(),
  versions: z.int().describe("how many there are"),
});
export const addedSchema = adapterSchema.extend({ added: versionSchema });

/** The newest version of an adapter with nothing published. */
export async function newestVersion(store: Pick<Store, "versions">, name: string): Promise<VersionRow | undefined> {
  return (await store.versions(name, { limit: 1 })).data[0];
}

/** `shown`: the version whose facts stand for the adapter; `served`: what the engine has under its name. */
export function adapterObject(
  row: AdapterDetails,
  shown: VersionRow | undefined,
  served: AdapterInfo | undefined,
): z.output<typeof adapterSchema> {
  return {
    object: "adapter",
    id: row.name,
    name: row.name,
    current_version: row.currentVersion,
    hash: shown?.hash ?? null,
    method: shown?.method ?? null,
    parameters: shown?.parameters ?? null,
    bytes: shown?.bytes ?? null,
    virtual_tokens: shown?.virtualTokens ?? null,
    pinned: row.isPinned,
    tier: served?.tier ?? null,
    created_at: unixSeconds(row.createdAt),
    versions: row.versionCount,
  };
}

/** `current`: number of the version that is. */
export function versionObject(row: VersionRow, current: number | null): z.output<typeof versionSchema> {
  return {
    object: "adapter.version",
    id: String(row.number),
    name: row.adapter,
    version: row.number,
    hash: row.hash,
    source: row.source,
    method: row.method,
    parameters: row.parameters,
    bytes: row.bytes,
    virtual_tokens: row.virtualTokens,
    created_at: unixSeconds(row.createdAt),
    published_at: row.publishedAt && unixSeconds(row.publishedAt),
    is_current: row.number === current,
  };
}
