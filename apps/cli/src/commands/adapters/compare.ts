import {
  compareConfigs,
  compareDeltas,
  compareTensors,
  describeAdapter,
  type Difference,
  loadAdapter,
} from "@graft/adapters";
import { z } from "zod";
import { defineCommand, UsageError } from "../../command.ts";
import { counter } from "../../progress.ts";
import { table } from "../../table.ts";
import { withBase } from "../../with-base.ts";

export default defineCommand({
  name: "adapters compare",
  summary: "say how two adapters differ",
  description:
    "Compares the configs with their defaults, and tensor by tensor the difference |a - b| / max(|a|, |b|) and the cosine of the angle between the two. With --model also what they add to each weight, which says more: other factors may have the same product, and the methods may differ.",
  positional: { syntax: "<dirs...>", description: "two adapter folders" },
  examples: [
    "graft adapters compare ./math-lora ./math-lora-2",
    "graft adapters compare ./math-loha ./math-lora --model DIR --json",
  ],
  options: z.object({
    model: z
      .string()
      .optional()
      .describe("folder of the base model, or a hub name: compares what is added to each weight"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ model, json }, { positionals, print, log }) {
    const [a, b] = positionals;
    if (positionals.length !== 2) throw new UsageError(`give two adapter folders, not ${positionals.length}`);
    const config = compareConfigs(describeAdapter(a!).settled, describeAdapter(b!).settled);
    const tensors = await compareTensors(a!, b!);
    const deltas = model === undefined ? undefined : await deltasOf(a!, b!, model, log);
    if (json) {
      print(JSON.stringify({ config, tensors, deltas }));
      return 0;
    }
    const fields = config.map(({ field, ...values }) => [field, text(values.a), text(values.b)]);
    print(fields.length > 0 ? table(["config", "a", "b"], fields) : "the configs say the same");
    print(`\n${table(["tensor", "difference", "cosine", ""], tensors.map(row))}`);
    if (deltas) print(`\n${table(["change of", "difference", "cosine", ""], deltas.map(row))}`);
    return 0;
  },
});

const text = (value: unknown): string => (value === undefined ? "" : JSON.stringify(value));

function row({ name, only, relative, cosine }: Difference): string[] {
  const note = only === "shape" ? "shapes differ" : only === undefined ? "" : `only in ${only}`;
  return [name, relative?.toExponential(3) ?? "", cosine?.toFixed(6) ?? "", note];
}

function deltasOf(a: string, b: string, model: string, log: (line: string) => void): Promise<Difference[]> {
  const show = counter("comparing: weight", log, { isPassing: true });
  return withBase(model, (base) => compareDeltas(loadAdapter(a, base), loadAdapter(b, base), base, show));
}
