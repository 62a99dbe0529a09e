import { deltaNorms, describeAdapter, loadAdapter } from "@graft/adapters";
import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { counter } from "../../progress.ts";
import { table } from "../../table.ts";
import { withBase } from "../../with-base.ts";
import { sizeText, summaryJson } from "./ls.ts";

export default defineCommand({
  name: "adapters show",
  summary: "show an adapter's config, tensors and norms",
  description:
    "Shows the config as it was written beside what it means with the defaults of its method, the fields that the method does not read, and every tensor with its norm. With --model also how large the change of each weight is.",
  positional: { syntax: "<dir>", description: "adapter folder" },
  examples: [
    "graft adapters show ./math-lora",
    "graft adapters show models/graft-micro-llama-common --model models/graft-micro-llama --json",
  ],
  options: z.object({
    model: z.string().optional().describe("folder of the base model, or a hub name: shows the change of each weight"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ model, json }, { positionals, print, log }) {
    const [folder] = positionals;
    const { written, settled, unread, tensors, ...summary } = describeAdapter(folder!);
    const sites = model === undefined ? undefined : await sitesOf(folder!, model, log);
    if (json) {
      print(JSON.stringify({ ...summaryJson(summary), written, config: settled, unread, tensors, sites }));
      return 0;
    }
    print(`${summary.path}: ${[summary.method, sizeText(summary)].filter((text) => text !== "").join(", ")}`);
    print(`base     ${summary.base ?? "not named"}`);
    print(`version  ${summary.version}`);
    print(
      `holds    ${summary.parameters.toLocaleString("en")} values in ${tensors.length} tensors, ${summary.bytes.toLocaleString("en")} bytes\n`,
    );
    const fields = Object.entries({ ...settled, ...written }).toSorted(([a], [b]) => (a < b ? -1 : 1));
    const rows = fields.map(([name]) => {
      const isWritten = Object.hasOwn(written, name);
      const note = unread.includes(name) ? "not read" : isWritten ? "" : "default";
      return [name, JSON.stringify(settled[name] ?? null), isWritten ? JSON.stringify(written[name]) : "", note];
    });
    print(table(["config", "means", "written", ""], rows));
    const shape = (sizes: readonly number[]) => `[${sizes.join(", ")}]`;
    print(
      `\n${table(
        ["tensor", "dtype", "shape", "norm"],
        tensors.map((t) => [t.name, t.dtype, shape(t.shape), t.norm.toPrecision(5)]),
      )}`,
    );
    if (!sites) return 0;
    const norms = sites.map((s) => [s.parameter, s.norm.toPrecision(5), s.relative?.toPrecision(4) ?? ""]);
    print(`\n${table(["weight", "norm of its change", "of the weight's norm"], norms)}`);
    return 0;
  },
});

function sitesOf(folder: string, model: string, log: (line: string) => void) {
  const show = counter("reading: weight", log, { isPassing: true });
  return withBase(model, (base) => deltaNorms(loadAdapter(folder, base), base, show));
}
