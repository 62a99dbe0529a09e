import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { type ApiKey, connect, serverOptions } from "../../remote/client.ts";
import { countText, whenText } from "../../remote/text.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "keys ls",
  summary: "list a server's API keys",
  description: "Lists how the keys begin, what they may do, and when they were used last. Needs an admin key.",
  examples: ["graft keys ls", "graft keys ls --url http://gpu-box:8000 --json"],
  options: z.object({ ...serverOptions, json: z.boolean().default(false).describe("print one JSON document") }),
  async run({ json, ...server }, { print, log, signal }) {
    const { api, url } = connect(server, signal);
    const { data } = await (await api.v1.keys.$get()).json();
    if (json) print(JSON.stringify({ keys: data }));
    else if (data.length > 0) print(table(HEADS, data.map(row)));
    else log(`${url} has no keys: without --api-key it is open to everybody who reaches it`);
    return 0;
  },
});

const HEADS = ["key", "name", "begins", "scopes", "requests/min", "tokens/min", "created (UTC)", "last used (UTC)"];

function row(key: ApiKey): string[] {
  const limit = (count: number | null): string => (count === null ? "" : countText(count));
  return [
    key.id,
    key.name,
    key.prefix,
    key.scopes.join(","),
    limit(key.requests_per_minute),
    limit(key.tokens_per_minute),
    whenText(key.created_at),
    key.last_used_at === null ? "never" : whenText(key.last_used_at),
  ];
}
