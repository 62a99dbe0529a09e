/**
 * Imports go one way, types included: checks every source file of every package against the tables below. Usage: check-boundaries.ts [ROOT].
 * Prints each import that does not and exits 1 if there is one.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, join, normalize, resolve } from "node:path";

const root = resolve(process.argv[2] ?? join(import.meta.dir, ".."));

/** What each package may import of the others. */
const packages: Readonly<Record<string, readonly string[]>> = {
  "packages/kernels": [],
  "packages/core": ["kernels"],
  "packages/adapters": ["core", "kernels"],
  "packages/eval": ["core"],
  "apps/server": ["adapters", "core", "eval", "kernels"],
  "apps/cli": ["adapters", "core", "eval", "kernels", "server"],
};

/** What each folder of core may import of the others. `graph` knows no model. */
const core: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  random: [],
  io: ["errors"],
  graph: ["errors", "ops"], // grad.ts appends add and fill
  ops: ["errors", "graph"],
  nn: ["errors", "graph", "ops"],
  models: ["errors", "graph", "io", "nn", "ops"],
  generate: ["errors", "graph", "io", "models", "nn", "ops", "random", "text"],
  text: ["errors", "io"],
  data: ["errors", "io", "random", "text"],
  train: ["data", "errors", "graph", "io", "models", "nn", "ops", "random", "text"],
  engine: ["errors", "generate", "graph", "models", "nn", "random", "text"],
};

/** Folders where an import of the device is wrong. */
const withoutDevice = /^packages\/core\/src\/(errors|random|io|text|data)\/|^apps\/server\/src\/routes\//;
/** The scheduler and what it is made of: pure, so that it can be tested without a device, a clock or a model. */
const pure = /^packages\/core\/src\/engine\/(scheduler|fair-queue|prefix-cache|page-pool|share-rows|turn-policy)\.ts$/;

/** Only an app's config.ts reads the environment; the two commands that start tools hand on what they were given. */
const readsEnvironment = /(?<!")\b(?:process|Bun|import\.meta)\.env\b/;
const mayReadEnvironment = /^apps\/[^/]+\/src\/(config\.ts|commands\/(check|test)\.ts)$/;

const problems: string[] = [];
for (const [folder, allowed] of Object.entries(packages)) {
  for (const file of new Bun.Glob(`${folder}/src/**/*.ts`).scanSync(root)) {
    if (file.endsWith(".test.ts")) continue;
    const text = readFileSync(join(root, file), "utf8");
    if (readsEnvironment.test(text) && !mayReadEnvironment.test(file))
      problems.push(`${file}: only an app's config.ts reads the environment`);
    for (const target of importsOf(text)) {
      const problem = check(file, folder, allowed, target);
      if (problem !== undefined) problems.push(`${file}: ${problem}`);
    }
  }
}
for (const problem of problems.toSorted()) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;

function check(file: string, folder: string, allowed: readonly string[], target: string): string | undefined {
  if (pure.test(file) && target !== "../errors/index.ts" && !pure.test(normalize(join(dirname(file), target))))
    return `imports pure files of its own alone, but ${target}`;
  if (withoutDevice.test(file) && (target === "webgpu" || target.startsWith("@graft/kernels")))
    return `no device code here, but ${target}`;
  const name = /^@graft\/([^/]+)/.exec(target)?.[1];
  if (name !== undefined) return allowed.includes(name) ? undefined : `${folder} may not import ${target}`;
  if (target === "webgpu" && folder !== "packages/kernels") return "only packages/kernels imports webgpu";
  if (!target.startsWith(".")) return undefined;
  const to = normalize(join(dirname(file), target));
  if (!to.startsWith(`${folder}/`) || to.startsWith(`${folder}/test/`))
    return `${target} is outside the package's source`;
  if (basename(to).startsWith("_") && dirname(to) !== dirname(file)) return `${to} is private to its folder`;
  const [from, other] = [file, to].map((path) => /^packages\/core\/src\/([^/]+)\//.exec(path)?.[1]);
  if (from === undefined || other === undefined || from === other) return undefined;
  return core[from]?.includes(other) ? undefined : `core/${from} may not import core/${other}`;
}

/** Bun's own scanner leaves out imports of types, which are arrows too. */
function importsOf(text: string): string[] {
  const statements = /^(?:import|export)\s(?:[^"';]*?\sfrom\s*)?"([^"]+)"/gm;
  const calls = /\bimport\(\s*"([^"]+)"\s*\)/g;
  return [...text.matchAll(statements), ...text.matchAll(calls)].map((match) => match[1]!);
}
