import { type AdapterSummary, findAdapterFolders, summariseAdapter } from "@graft/adapters";
import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "adapters ls",
  summary: "list adapter folders",
  description:
    "Lists the adapter folders at and below the given ones: method, size, targets, base, parameters, bytes, and the version, which is a hash of the config and the weights. A folder that cannot be read is named with the reason on stderr.",
  positional: { syntax: "[dir...]", description: "folders to look in; default: this one" },
  examples: ["graft adapters ls", "graft adapters ls ./trained ./shared --json"],
  options: z.object({ json: z.boolean().default(false).describe("print one JSON document") }),
  run({ json }, { positionals, print, log, signal }) {
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
    return Promise.resolve(0);
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
