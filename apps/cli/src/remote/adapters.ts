/** A server's adapters. */
import { table } from "../table.ts";
import type { Adapter, Api } from "./client.ts";
import { bytesText, countText, whenText } from "./text.ts";

/** All of them, the newest names first. Throws RemoteError. */
export async function remoteAdapters(api: Api): Promise<Adapter[]> {
  const adapters: Adapter[] = [];
  for (let after: string | undefined; ;) {
    const query = { limit: "1000", ...(after === undefined ? {} : { after }) };
    const page = await (await api.v1.adapters.$get({ query })).json();
    adapters.push(...page.data);
    if (!page.has_more) return adapters;
    after = page.last_id ?? undefined;
  }
}

export function remoteAdaptersTable(adapters: readonly Adapter[]): string {
  const rows = adapters.map((a) => [
    a.name,
    a.current_version === null ? "none" : String(a.current_version),
    String(a.versions),
    a.method ?? "",
    a.parameters === null ? "" : countText(a.parameters),
    a.bytes === null ? "" : bytesText(a.bytes),
    a.tier === null ? "not served" : `${a.tier}${a.pinned ? ", pinned" : ""}`,
    a.hash ?? "",
    whenText(a.created_at),
  ]);
  return table(
    ["name", "published", "versions", "method", "parameters", "size", "where", "hash", "created (UTC)"],
    rows,
  );
}
