import { openDevice } from "@graft/kernels";
import { z } from "zod";
import { defineCommand, UsageError } from "../command.ts";
import type { CaseReport } from "../verify/report.ts";
import { verifyCases } from "../verify/verify.ts";

export default defineCommand({
  name: "verify",
  summary: "compare with values computed by the reference implementations",
  description:
    "Runs case directories (case.json, tensors.safetensors) or whole kits (index.json) on the device and prints the worst error of each quantity beside its tolerance. Exit code 0 only if all hold.",
  positional: { syntax: "<path...>", description: "case directories, or kits" },
  examples: [
    "graft verify golden/base/llama-gqa",
    "graft verify golden --filter 'llama.*lora'",
    "graft verify golden --filter '^base/' --dump-dir computed --json",
  ],
  options: z.object({
    filter: z.string().optional().describe("only cases whose id matches this regular expression"),
    dumpDir: z.string().optional().describe("write what was computed as DIR/<case id>.safetensors"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ filter, dumpDir, json }, { positionals, signal, print, log }) {
    const pattern = filter === undefined ? undefined : readPattern(filter);
    const device = await openDevice();
    const reports: CaseReport[] = [];
    try {
      for await (const report of verifyCases(positionals, device, { filter: pattern, dumpDir, signal })) {
        reports.push(report);
        if (json) log(`${report.passed ? "ok  " : "FAIL"} ${report.id}`);
        else print(describe(report));
      }
    } finally {
      await device.close();
    }
    const failed = reports.filter((report) => !report.passed).length;
    if (json) print(JSON.stringify({ cases: reports, passed: reports.length - failed, failed }, null, 2));
    else print(`${reports.length - failed} of ${reports.length} cases hold`);
    if (reports.length === 0) log("no case matches");
    return failed === 0 && reports.length > 0 ? 0 : 1;
  },
});

function readPattern(source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (cause) {
    throw new UsageError(`--filter: ${source} is no regular expression`, { cause });
  }
}

function describe({ id, passed, quantities, skipped, seconds }: CaseReport): string {
  const rows = quantities.map((q) => {
    const mark = q.passed ? " " : "!";
    const error =
      q.tolerance === "exact"
        ? q.passed
          ? "equal"
          : `differs at ${q.worstAt}`
        : `${q.worst.toExponential(2)} (${q.tolerance})${q.passed ? "" : ` at ${q.worstAt}`}`;
    return `  ${mark} ${q.quantity.padEnd(16)} ${error}`;
  });
  return [
    `${passed ? "ok  " : "FAIL"} ${id}  ${seconds.toFixed(1)} s`,
    ...rows,
    ...skipped.map((reason) => `  - ${reason}`),
  ].join("\n");
}
