import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { defineCommand, UsageError } from "../command.ts";
import { config } from "../config.ts";
import { addCounts, type Counts, countsOf } from "../test-counts.ts";
import { failuresIn } from "../test-failures.ts";

export default defineCommand({
  name: "test",
  summary: "run every test of every package",
  description:
    "Runs the tests of all packages through turbo, one package after the other, and ends with the counts of the whole run. A run that dies counts as a failure.",
  positional: { syntax: "[package...]", description: "only these packages, for example core" },
  examples: ["graft test", "graft test kernels core"],
  options: z.object({ json: z.boolean().default(false).describe("print the counts as JSON") }),
  async run({ json }, { positionals, print, log, signal }) {
    const all = packages();
    for (const name of positionals)
      if (!all.some((p) => p.name === name))
        throw new UsageError(`no package "${name}" with tests; there are ${all.map((p) => p.name).join(", ")}`);
    const chosen = positionals.length > 0 ? all.filter((p) => positionals.includes(p.name)) : all;
    const results = join(config.root, ".cache", "test-results");
    rmSync(results, { recursive: true, force: true });
    mkdirSync(results, { recursive: true });
    const counts: Record<string, Counts> = {};
    const failures: string[] = [];
    for (const p of chosen) {
      signal.throwIfAborted();
      const tested = await testPackage(p, results, signal);
      counts[p.name] = tested.counts;
      failures.push(...failuresIn(tested.output).map((failure) => `${p.name}: ${failure}`));
    }
    const sum = addCounts(Object.values(counts));
    // Again at the end: a long run's output is long.
    for (const failure of failures) log(`\n${failure}`);
    for (const [name, c] of Object.entries(counts)) log(`${name.padEnd(10)} ${inWords(c)}`);
    if (json) print(JSON.stringify({ ...sum, packages: counts }));
    else print(`${sum.passed} passed, ${sum.failed} failed`);
    return sum.failed === 0 ? 0 : 1;
  },
});

interface Package {
  readonly name: string;
  readonly fullName: string;
  /** Test files, relative to the package. */
  readonly files: readonly string[];
}

/** Workspaces that have test files, what others are built on first. */
function packages(): Package[] {
  const found = ["packages", "apps"].flatMap((group) =>
    readdirSync(join(config.root, group)).flatMap((name) => {
      const folder = join(config.root, group, name);
      if (!existsSync(join(folder, "package.json"))) return [];
      const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
        name: string;
        dependencies?: Record<string, string>;
      };
      const files = [...new Bun.Glob("{src,test}/**/*.test.ts").scanSync(folder)];
      const below = Object.keys(manifest.dependencies ?? {}).filter((other) => other.startsWith("@graft/")).length;
      return files.length > 0 ? [{ name, fullName: manifest.name, files, below }] : [];
    }),
  );
  return found.toSorted((a, b) => a.below - b.below);
}

/** What the tests say goes to stderr: stdout is for the counts. */
async function testPackage(
  { name, fullName, files }: Package,
  results: string,
  signal: AbortSignal,
): Promise<{ counts: Counts; output: string }> {
  const turbo = Bun.spawn(
    ["bun", "x", "turbo", "run", "test", "--concurrency=1", "--output-logs=full", "--filter", fullName],
    {
      cwd: config.root,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
      env: { ...process.env, GRAFT_TEST_RESULTS: results, TURBO_TELEMETRY_DISABLED: "1" },
      signal,
    },
  );
  const decoder = new TextDecoder();
  let output = "";
  for await (const bytes of turbo.stdout) {
    process.stderr.write(bytes);
    output += decoder.decode(bytes, { stream: true });
  }
  const exitCode = await turbo.exited;
  const junit = join(results, `${name}.xml`);
  const counts = countsOf(existsSync(junit) ? readFileSync(junit, "utf8") : undefined, exitCode, files);
  return { counts, output };
}

function inWords({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
