import { type AdapterSummary, findAdapterFolders, summariseAdapter } from "@graft/adapters";
import { z } from "zod";
import { defineCommand, UsageError } from "../../command.ts";
import { remoteAdapters, remoteAdaptersTable } from "../../remote/adapters.ts";
import { connect, serverOptions } from "../../remote/client.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "adapters ls",
  summary: "list adapter folders, or a server's adapters",
  description:
    "Lists the adapter folders at and below the given ones: method, size, targets, base, parameters, bytes, and the version, which is a hash of the config and the weights. A folder that cannot be read is named with the reason on stderr. With --remote or --url it lists a server's adapters: the published version, how many there are, and where its values are.",
  positional: { syntax: "[dir...]", description: "folders to look in; default: this one" },
  examples: ["graft adapters ls", "graft adapters ls ./trained ./shared --json", "graft adapters ls --remote"],
  options: z.object({
    remote: z.boolean().default(false).describe("list a server's adapters"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ remote, json, ...server }, { positionals, print, log, signal }) {
    if (remote || server.url !== undefined) {
      if (positionals.length > 0) throw new UsageError("folders do not go with --remote or --url");
      const { api, url } = connect(server, signal);
      const found = await remoteAdapters(api);
      if (json) print(JSON.stringify({ adapters: found }));
      else if (found.length > 0) print(remoteAdaptersTable(found));
      else log(`${url} has no adapters`);
      return 0;
    }
    const folders = (positionals.length > 0 ? positionals : ["."]).flatMap((root) => findAdapterFolders(root));
    const adapters: AdapterSummary[] = [];
    const problems: { path: string; problem: string }[] = [];
    for (const path of new Set(folders)) {
      signal.throwIfAborted();
      try {
        adapters.push(summariseAdapter(path));
      } catch (error) {
        // One folder that is damaged or of another program must not hide the others.
        if (!(error instanceof Error)) throw error;
        problems.push({ path, problem: error.message });
      }
    }
    if (json) {
      print(JSON.stringify({ adapters: adapters.map(summaryJson), problems }));
    } else {
      const rows = adapters.map((a) => [
        a.path,
        a.method,
        sizeText(a),
        targetsText(a),
        a.base ?? "",
        a.parameters.toLocaleString("en"),
        a.bytes.toLocaleString("en"),
        a.version,
      ]);
      if (rows.length > 0)
        print(table(["path", "method", "size", "targets", "base", "parameters", "bytes", "version"], rows));
      else log("no adapter folders found");
      for (const { problem } of problems) log(problem);
    }
    return 0;
  },
});

/** "r 8, lora_alpha 16" */
export function sizeText({ size }: AdapterSummary): string {
  return Object.entries(size)
    .map(([field, value]) => `${field} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`)
    .join(", ");
}

function targetsText({ targets }: AdapterSummary): string {
  if (targets === undefined || typeof targets === "string") return targets ?? "";
  const shown = targets.slice(0, 6).join(",");
  return targets.length > 6 ? `${shown} and ${targets.length - 6} more` : shown;
}

/** Under the names that the other commands' JSON has. */
export function summaryJson({ peftType, ...rest }: AdapterSummary) {
  return { ...rest, peft_type: peftType };
}
