/** Imports go one way: checks every import of every package against the table. Exits 1 naming each that does not. */
import { readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";

const root = join(import.meta.dir, "..");

/** What each package may import of the others. */
const packages: Readonly<Record<string, readonly string[]>> = {
  "packages/kernels": [],
  "packages/core": ["kernels"],
  "packages/adapters": ["core", "kernels"],
  "packages/eval": ["core"],
  "apps/server": ["adapters", "core", "eval", "kernels"],
  "apps/cli": ["adapters", "core", "eval", "kernels", "server"],
};

/** What each folder of core may import of the others. `graph` knows no model; `text` and `data` no device. */
const core: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  random: [],
  io: ["errors"],
  graph: ["errors", "ops"], // grad.ts appends add and fill
  ops: ["errors", "graph"],
  nn: ["errors", "graph", "ops"],
  models: ["errors", "graph", "io", "nn", "ops"],
  generate: ["errors", "graph", "io", "models", "nn", "random", "text"],
  text: ["errors", "io"],
  data: ["errors", "io", "random", "text"],
  train: ["data", "errors", "graph", "io", "models", "nn", "ops", "random", "text"],
  engine: ["errors", "generate", "graph", "models", "nn", "random", "text"],
};

const problems: string[] = [];
for (const [folder, allowed] of Object.entries(packages)) {
  for (const file of new Bun.Glob(`${folder}/src/**/*.ts`).scanSync(root)) {
    if (file.endsWith(".test.ts")) continue;
    for (const target of importsOf(join(root, file))) {
      const name = /^@graft\/([^/]+)/.exec(target)?.[1];
      if (name !== undefined && !allowed.includes(name)) problems.push(`${file}: ${folder} may not import ${target}`);
      if (folder === "packages/core" && target.startsWith(".")) checkCore(file, target);
      if (folder === "packages/core" && /\/(text|data)\//.test(file) && target.startsWith("@graft/kernels"))
        problems.push(`${file}: no device code here`);
    }
  }
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;

function checkCore(file: string, target: string): void {
  const to = normalize(join(dirname(file), target));
  const [from, other] = [file, to].map((path) => relative("packages/core/src", path).split("/"));
  if (from!.length < 2 || other!.length < 2 || from![0] === other![0]) return;
  if (!core[from![0]!]?.includes(other![0]!))
    problems.push(`${file}: core/${from![0]} may not import core/${other![0]}`);
}

function importsOf(path: string): string[] {
  return new Bun.Transpiler({ loader: "ts" }).scanImports(readFileSync(path, "utf8")).map((found) => found.path);
}
