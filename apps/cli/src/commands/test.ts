import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { defineCommand, UsageError } from "../command.ts";
import { config } from "../config.ts";

export default defineCommand({
  name: "test",
  summary: "run every test of every package",
  description:
    "Runs the tests of all packages through turbo, one package after the other, and ends with the counts of the whole run.",
  positional: { syntax: "[package...]", description: "only these packages, for example core" },
  examples: ["graft test", "graft test kernels core"],
  options: z.object({ json: z.boolean().default(false).describe("print the counts as JSON") }),
  async run({ json }, { positionals, print, log, signal }) {
    const all = packages();
    for (const name of positionals)
      if (!all.some((p) => p.name === name))
        throw new UsageError(`no package "${name}"; there are ${all.map((p) => p.name).join(", ")}`);
    const chosen = positionals.length > 0 ? all.filter((p) => positionals.includes(p.name)) : all;
    const results = join(config.root, ".cache", "test-results");
    rmSync(results, { recursive: true, force: true });
    mkdirSync(results, { recursive: true });
    const filters = chosen.flatMap((p) => ["--filter", p.fullName]);
    const turbo = Bun.spawn(
      ["bun", "x", "turbo", "run", "test", "--concurrency=1", "--continue=always", "--output-logs=full", ...filters],
      {
        cwd: config.root,
        stdout: json ? 2 : "inherit",
        stderr: "inherit",
        env: { ...process.env, GRAFT_TEST_RESULTS: results, TURBO_TELEMETRY_DISABLED: "1" },
        signal,
      },
    );
    const code = await turbo.exited;
    let passed = 0;
    let failed = 0;
    for (const p of chosen) {
      const counts = readCounts(join(results, `${p.name}.xml`));
      if (!counts) {
        // A package whose run died wrote no results.
        log(`${p.name}: the test run ended without results`);
        failed++;
        continue;
      }
      passed += counts.passed;
      failed += counts.failed;
    }
    if (code !== 0 && failed === 0) failed = 1;
    if (json) print(JSON.stringify({ passed, failed }));
    else print(`${passed} passed, ${failed} failed`);
    return failed === 0 ? 0 : 1;
  },
});

interface Package {
  readonly name: string;
  readonly fullName: string;
}

/** Workspaces that have a test script and test files. */
function packages(): Package[] {
  return ["packages", "apps"].flatMap((group) =>
    readdirSync(join(config.root, group)).flatMap((name) => {
      const manifest = join(config.root, group, name, "package.json");
      if (!existsSync(manifest)) return [];
      const { name: fullName } = JSON.parse(readFileSync(manifest, "utf8")) as { name: string };
      const hasTests = [...new Bun.Glob("{src,test}/**/*.test.ts").scanSync(join(config.root, group, name))].length > 0;
      return hasTests ? [{ name, fullName }] : [];
    }),
  );
}

/** Counts of a JUnit file as bun writes it. */
function readCounts(path: string): { passed: number; failed: number } | undefined {
  if (!existsSync(path)) return undefined;
  const head = /<testsuites [^>]*>/.exec(readFileSync(path, "utf8"))?.[0];
  if (head === undefined) return undefined;
  const number = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const failed = number("failures") + number("errors");
  return { passed: number("tests") - failed - number("skipped"), failed };
}
