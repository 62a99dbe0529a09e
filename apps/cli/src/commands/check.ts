import { z } from "zod";
import { defineCommand } from "../command.ts";
import { config } from "../config.ts";

const checks: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: "types", command: ["bun", "x", "turbo", "run", "typecheck", "--output-logs=errors-only"] },
  { name: "lint", command: ["bun", "x", "oxlint", "--type-aware", "--deny-warnings"] },
  { name: "format", command: ["bun", "x", "oxfmt", "--check"] },
  { name: "boundaries", command: ["bun", "scripts/check-boundaries.ts"] },
  { name: "dead code", command: ["bun", "x", "knip", "--no-progress"] },
];

export default defineCommand({
  name: "check",
  summary: "types, lint, format, boundaries, dead code",
  description:
    "Runs every check, whatever the others say, and ends with a line for each. `bunx oxfmt` formats, `bunx oxlint --fix` mends what it can.",
  examples: ["graft check", "graft check --only lint"],
  options: z.object({
    only: z
      .enum(checks.map((c) => c.name) as [string, ...string[]])
      .optional()
      .describe(`run one check: ${checks.map((c) => c.name).join(", ")}`),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ only, json }, { print, log, signal }) {
    const results = [];
    for (const check of checks.filter((c) => only === undefined || c.name === only)) {
      signal.throwIfAborted();
      log(`checking ${check.name}`);
      results.push(await run(check, signal));
    }
    if (json) print(JSON.stringify({ checks: results }));
    else for (const { name, passed, output } of results) print(passed ? `ok   ${name}` : `FAIL ${name}\n${output}`);
    return results.every(({ passed }) => passed) ? 0 : 1;
  },
});

async function run({ name, command }: (typeof checks)[number], signal: AbortSignal) {
  const child = Bun.spawn([...command], {
    cwd: config.root,
    stdin: "ignore",
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
  return { name, passed: code === 0, output: `${out}${err}`.trim() };
}
