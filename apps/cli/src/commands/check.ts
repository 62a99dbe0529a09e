import { z } from "zod";
import { defineCommand } from "../command.ts";
import { config } from "../config.ts";

const checks: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: "types", command: ["bun", "x", "turbo", "run", "typecheck", "--output-logs=errors-only"] },
  { name: "lint", command: ["bun", "x", "oxlint", "--type-aware"] },
  { name: "format", command: ["bun", "x", "oxfmt", "--check"] },
  { name: "boundaries", command: ["bun", "scripts/check-boundaries.ts"] },
  { name: "dead code", command: ["bun", "x", "knip", "--no-progress"] },
];

export default defineCommand({
  name: "check",
  summary: "types, lint, format, boundaries, dead code",
  examples: ["graft check", "graft check --only lint"],
  options: z.object({
    only: z
      .enum(checks.map((c) => c.name) as [string, ...string[]])
      .optional()
      .describe("run one check"),
  }),
  async run({ only }, { print, signal }) {
    let failed = 0;
    for (const { name, command } of checks.filter((c) => only === undefined || c.name === only)) {
      const child = Bun.spawn([...command], {
        cwd: config.root,
        stdout: "pipe",
        stderr: "pipe",
        signal,
        env: { ...process.env, TURBO_TELEMETRY_DISABLED: "1" },
      });
      const [out, err, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ]);
      print(`${code === 0 ? "ok  " : "FAIL"} ${name}`);
      if (code !== 0) {
        failed++;
        print(`${out}${err}`.trim());
      }
    }
    return failed === 0 ? 0 : 1;
  },
});
