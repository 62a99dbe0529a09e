/** The `graft` command. One line for each command, a subcommand under both its words; its file is loaded when it is called. */
import { suggest } from "@graft/core/errors";
import type { z } from "zod";
import manifest from "../package.json";
import { type Command, parseOptions, UsageError } from "./command.ts";

export const commands: Readonly<
  Record<string, { readonly summary: string; readonly load: () => Promise<{ default: Command<z.ZodObject> }> }>
> = {
  demo: {
    summary: "train, measure, serve and swap an adapter on the embedded model, in under three minutes",
    load: () => load(import("./commands/demo.ts")),
  },
  train: {
    summary: "fine-tune an adapter on a frozen base (alias: finetune)",
    load: () => load(import("./commands/train.ts")),
  },
  generate: { summary: "continue prompts", load: () => load(import("./commands/generate.ts")) },
  score: { summary: "log-likelihood of each token of given texts", load: () => load(import("./commands/score.ts")) },
  eval: { summary: "measure a base or adapters on tasks", load: () => load(import("./commands/eval.ts")) },
  merge: {
    summary: "fold an adapter into its base and write a model folder",
    load: () => load(import("./commands/merge.ts")),
  },
  "adapters ls": {
    summary: "list adapter folders, or a server's adapters",
    load: () => load(import("./commands/adapters/ls.ts")),
  },
  "adapters show": {
    summary: "show an adapter's config, tensors and norms",
    load: () => load(import("./commands/adapters/show.ts")),
  },
  "adapters compare": {
    summary: "say how two adapters differ",
    load: () => load(import("./commands/adapters/compare.ts")),
  },
  "adapters combine": {
    summary: "merge several LoRAs into one, weighted",
    load: () => load(import("./commands/adapters/combine.ts")),
  },
  "adapters compose": {
    summary: "make one adapter of several: stacked, averaged or fused",
    load: () => load(import("./commands/adapters/compose.ts")),
  },
  "adapters convert": {
    summary: "make a LoRA of any adapter that can be merged",
    load: () => load(import("./commands/adapters/convert.ts")),
  },
  "adapters push": {
    summary: "upload an adapter folder to a server",
    load: () => load(import("./commands/adapters/push.ts")),
  },
  "adapters pull": {
    summary: "download an adapter from a server",
    load: () => load(import("./commands/adapters/pull.ts")),
  },
  "adapters publish": {
    summary: "make a version of a server's adapter the one that requests get",
    load: () => load(import("./commands/adapters/publish.ts")),
  },
  "adapters rollback": {
    summary: "go back to the version of a server's adapter that was published before",
    load: () => load(import("./commands/adapters/rollback.ts")),
  },
  quantize: {
    summary: "quantise a model's linear layers and write a model folder",
    load: () => load(import("./commands/quantize.ts")),
  },
  serve: {
    summary: "serve a base and its adapters over HTTP, OpenAI-compatible",
    load: () => load(import("./commands/serve.ts")),
  },
  ps: { summary: "say what a server has and does", load: () => load(import("./commands/ps.ts")) },
  chat: { summary: "talk to a model that a server serves", load: () => load(import("./commands/chat.ts")) },
  "jobs create": {
    summary: "train an adapter on a server",
    load: () => load(import("./commands/jobs/create.ts")),
  },
  "jobs ls": { summary: "list a server's fine-tuning jobs", load: () => load(import("./commands/jobs/ls.ts")) },
  "jobs logs": {
    summary: "show what happened in a fine-tuning job",
    load: () => load(import("./commands/jobs/logs.ts")),
  },
  "jobs cancel": { summary: "end a fine-tuning job", load: () => load(import("./commands/jobs/cancel.ts")) },
  "jobs pause": {
    summary: "have a fine-tuning job save and wait",
    load: () => load(import("./commands/jobs/pause.ts")),
  },
  "jobs resume": {
    summary: "go on with a paused fine-tuning job",
    load: () => load(import("./commands/jobs/resume.ts")),
  },
  "keys create": { summary: "make an API key of a server", load: () => load(import("./commands/keys/create.ts")) },
  "keys ls": { summary: "list a server's API keys", load: () => load(import("./commands/keys/ls.ts")) },
  "keys revoke": { summary: "revoke an API key of a server", load: () => load(import("./commands/keys/revoke.ts")) },
  "runs ls": { summary: "list the runs that were recorded", load: () => load(import("./commands/runs/ls.ts")) },
  "runs show": {
    summary: "show a run's figures, settings and hashes",
    load: () => load(import("./commands/runs/show.ts")),
  },
  "runs diff": {
    summary: "say how two runs differ, and whether one really beats the other",
    load: () => load(import("./commands/runs/diff.ts")),
  },
  "runs reproduce": {
    summary: "run an evaluation again and say whether the numbers match",
    load: () => load(import("./commands/runs/reproduce.ts")),
  },
  "datasets ls": {
    summary: "list the data sets, and where their files are",
    load: () => load(import("./commands/datasets/ls.ts")),
  },
  "datasets pull": {
    summary: "fetch data sets from where they are published",
    load: () => load(import("./commands/datasets/pull.ts")),
  },
  "datasets check": {
    summary: "find test questions in training data",
    load: () => load(import("./commands/datasets/check.ts")),
  },
  study: {
    summary: "compare adapter methods on models and tasks, as the paper's tables do",
    load: () => load(import("./commands/study.ts")),
  },
  plan: {
    summary: "what training or serving a model takes in memory, from its config.json alone",
    load: () => load(import("./commands/plan.ts")),
  },
  tokenize: { summary: "token ids of texts", load: () => load(import("./commands/tokenize.ts")) },
  bench: {
    summary: "measure the device's ceilings, the kernels against them, and a training step, a mixed batch",
    load: () => load(import("./commands/bench.ts")),
  },
  "bench serve": {
    summary: "measure a server: tokens a second and latencies, with adapters of mixed kinds and without",
    load: () => load(import("./commands/bench/serve.ts")),
  },
  doctor: {
    summary: "say what was found on this machine and what could be better",
    load: () => load(import("./commands/doctor.ts")),
  },
  test: { summary: "run every test of every package", load: () => load(import("./commands/test.ts")) },
  check: { summary: "types, lint, format, boundaries, dead code", load: () => load(import("./commands/check.ts")) },
  verify: {
    summary: "compare with values computed by the reference implementations",
    load: () => load(import("./commands/verify.ts")),
  },
};

export const aliases: Readonly<Record<string, string>> = { finetune: "train" };

async function load<S extends z.ZodObject>(
  module: Promise<{ default: Command<S> }>,
): Promise<{ default: Command<z.ZodObject> }> {
  // A command takes what its own schema gives; main hands it nothing else.
  return (await module) as unknown as { default: Command<z.ZodObject> };
}

/** The commands, or those that begin with a group's word. */
function overview(group?: string): string {
  const entries = Object.entries(commands).filter(([name]) => group === undefined || name.startsWith(`${group} `));
  const width = Math.max(...entries.map(([name]) => name.length));
  const lines = entries.map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `Graft trains, evaluates and serves adapters on frozen language models.\n\nUsage: graft COMMAND [options]\n\nCommands:\n${lines.join("\n")}\n\n\`graft COMMAND --help\` shows a command's options with examples.`;
}

/** The command that the first words of a line name, and its arguments; or the group that the first word names. Throws UsageError with near names. */
export function findCommand(
  args: readonly string[],
): { readonly name: string; readonly rest: readonly string[] } | { readonly group: string } {
  const [first = "", second = ""] = args;
  const both = `${first} ${second}`;
  if (Object.hasOwn(commands, both)) return { name: both, rest: args.slice(2) };
  const name = aliases[first] ?? first;
  if (Object.hasOwn(commands, name)) return { name, rest: args.slice(1) };
  const isGroup = Object.keys(commands).some((known) => known.startsWith(`${first} `));
  if (isGroup && (second === "" || second === "--help" || second === "-h")) return { group: first };
  const said = isGroup ? both : first;
  throw new UsageError(
    `unknown command "${said}"${suggest(said, [...Object.keys(commands), ...Object.keys(aliases)])}`,
  );
}

/** Runs a command line and returns its exit code. Throws UsageError for a wrong one, and what the command throws. */
export async function main(args: readonly string[], signal: AbortSignal): Promise<number> {
  const [first, ...rest] = args;
  if (first === "--version") {
    process.stdout.write(`${manifest.version}\n`);
    return 0;
  }
  if (first === "help" && rest[0] !== undefined) return main([...rest, "--help"], signal);
  if (first === undefined || first === "help" || first === "--help" || first === "-h") {
    process.stdout.write(`${overview()}\n`);
    return 0;
  }
  const found = findCommand(args);
  if ("group" in found) {
    process.stdout.write(`${overview(found.group)}\n`);
    return 0;
  }
  const { default: command } = await commands[found.name]!.load();
  const parsed = await parseOptions(command, found.rest);
  if (parsed === "help") return 0;
  return command.run(parsed.options, {
    positionals: parsed.positionals,
    signal,
    log: (line) => process.stderr.write(`${line}\n`),
    print: (text) => process.stdout.write(`${text}\n`),
  });
}

/** What a person reads of an error: one line, or with `isDebug` the stack and the causes too. */
function explain(error: unknown, isDebug: boolean): string {
  if (isDebug) return `graft: ${Bun.inspect(error)}`;
  const message = error instanceof Error ? error.message : String(error);
  // Nobody's input: a mistake in Graft itself.
  const isBug = error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError;
  return isBug ? `graft: a mistake in graft: ${message} (--debug shows where)` : `graft: ${message}`;
}

if (import.meta.main) {
  const controller = new AbortController();
  // The first Ctrl-C lets the command end in order; the second ends it now.
  process.on("SIGINT", () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  });
  process.on("SIGTERM", () => controller.abort());
  try {
    process.exitCode = await main(process.argv.slice(2), controller.signal);
  } catch (error) {
    const isAbort = error instanceof Error && error.name === "AbortError";
    process.stderr.write(isAbort ? "graft: stopped\n" : `${explain(error, process.argv.includes("--debug"))}\n`);
    process.exitCode = isAbort ? 130 : error instanceof UsageError ? 2 : 1;
  }
}
