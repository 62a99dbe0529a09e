/** What a command is, and how its options are read: flags, a config file, then defaults, all through one zod schema. */
import { ConfigError, nearNames, suggest } from "@graft/core/errors";
import { Command as Commander, CommanderError, Option } from "commander";
import { extname } from "node:path";
import { z } from "zod";

export interface Positional {
  /** `<name>` is required, `[name]` may be left out, `...` inside takes all that follow. */
  readonly syntax: string;
  readonly description: string;
}

export interface RunContext {
  readonly positionals: readonly string[];
  /** Aborted by the first Ctrl-C; a second one kills. */
  readonly signal: AbortSignal;
  /** Progress, for people: stderr. */
  readonly log: (line: string) => void;
  /** Results: stdout. */
  readonly print: (text: string) => void;
}

/** One file each in commands/, one line in main.ts. Options are a zod object; field names are camelCase, flags their kebab-case. */
export interface Command<S extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  readonly summary: string;
  readonly description?: string;
  /** Several in their order. */
  readonly positional?: Positional | readonly Positional[];
  readonly examples: readonly string[];
  readonly options: S;
  /** Returns the exit code. */
  run(options: z.output<S>, context: RunContext): Promise<number>;
}

export function defineCommand<S extends z.ZodObject>(command: Command<S>): Command<S> {
  return command;
}

/** The flag was wrong, not the world: exit code 2. */
export class UsageError extends Error {
  override name = "UsageError";
}

interface Field {
  readonly name: string;
  readonly flag: string;
  /** One letter that stands for the flag: `.meta({ short: "f" })`. */
  readonly short: string | undefined;
  readonly kind: "boolean" | "number" | "array" | "object" | "string";
  readonly description: string;
  readonly fallback: unknown;
  /** May be left out and has no default: `None` leaves it out too. */
  readonly isOptional: boolean;
}

/** `--base-model` of baseModel, without the dashes in front. */
export const toKebab = (name: string) => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
const toCamel = (name: string) => name.replace(/[-_]+([a-zA-Z0-9])/g, (_, c: string) => c.toUpperCase());

/** The options as flags, read from the schema. */
export function fieldsOf(schema: z.ZodObject): Field[] {
  const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as {
    properties?: Record<string, JsonProperty>;
    required?: readonly string[];
  };
  return Object.entries(json.properties ?? {}).map(([name, property]) => ({
    name,
    flag: toKebab(name),
    short: property.short,
    kind: kindOf(property),
    description: property.description ?? "",
    fallback: property.default,
    isOptional: property.default === undefined && !json.required?.includes(name),
  }));
}

interface JsonProperty {
  readonly type?: string;
  readonly anyOf?: readonly JsonProperty[];
  readonly description?: string;
  readonly default?: unknown;
  readonly short?: string;
}

function kindOf(property: JsonProperty): Field["kind"] {
  const types = [property, ...(property.anyOf ?? [])].map((p) => p.type);
  if (types.includes("array")) return "array";
  if (types.includes("object")) return "object";
  if (types.includes("boolean")) return "boolean";
  // A number or a word: read as text, and by the schema as what it is.
  if (types.includes("string")) return "string";
  if (types.includes("number") || types.includes("integer")) return "number";
  return "string";
}

/**
 * Rewrites arguments to one spelling: `--base_model x`, `--base-model=x`; booleans as python-fire writes them (`--flag`, `--flag True`, `--flag=False`, `--no-flag`).
 * Everything after `--` is left alone.
 */
export function canonicalArguments(args: readonly string[], fields: readonly Field[]): string[] {
  const byFlag = new Map(fields.map((field) => [field.flag, field]));
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = longForm(args[i]!, fields);
    if (arg === "--") return [...out, ...args.slice(i)];
    const match = /^--([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(arg);
    if (!match) {
      out.push(arg);
      continue;
    }
    const flag = toKebab(toCamel(match[1]!));
    const field = byFlag.get(flag) ?? (flag.startsWith("no-") ? byFlag.get(flag.slice(3)) : undefined);
    if (field?.kind !== "boolean") {
      out.push(match[2] === undefined ? `--${flag}` : `--${flag}=${match[2]}`);
      continue;
    }
    const isNegated = field.flag !== flag;
    let word = match[2];
    if (word === undefined && /^(true|false)$/i.test(args[i + 1] ?? "")) word = args[++i];
    const value = /^(false|0|no)$/i.test(word ?? "true")
      ? "false"
      : /^(true|1|yes)$/i.test(word ?? "true")
        ? "true"
        : word;
    if (value !== "true" && value !== "false") throw new UsageError(`--${field.flag} is true or false, not "${value}"`);
    out.push(`--${field.flag}=${isNegated ? value === "false" : value}`);
  }
  return out;
}

/** `--follow` of `-f`. */
function longForm(arg: string, fields: readonly Field[]): string {
  const field = /^-[a-z]$/i.test(arg) ? fields.find(({ short }) => short === arg[1]) : undefined;
  return field ? `--${field.flag}` : arg;
}

/** A flag's text as the schema's type. Lists are JSON, or words between commas, or the flag several times. */
function readValue(field: Field, text: string, before: unknown): unknown {
  if (text === "None" && field.isOptional) return undefined;
  switch (field.kind) {
    case "boolean":
      return text === "true";
    case "number": {
      const value = Number(text);
      if (text.trim() === "" || Number.isNaN(value)) throw new UsageError(`--${field.flag} is a number, not "${text}"`);
      return value;
    }
    case "array":
    case "object": {
      const trimmed = text.trim();
      if (trimmed.startsWith("[") || trimmed.startsWith("{")) {
        const value = readJsonish(trimmed);
        if (value === undefined) throw new UsageError(`--${field.flag} is not valid JSON: ${text}`);
        return value;
      }
      if (field.kind === "object") throw new UsageError(`--${field.flag} is a JSON object, for example '{"key": 1}'`);
      return [...(Array.isArray(before) ? before : []), ...trimmed.split(",").map((word) => word.trim())];
    }
    case "string":
      return text;
  }
}

/** JSON, or a Python literal of strings as shells and notebooks write it. */
function readJsonish(text: string): unknown {
  for (const candidate of [text, text.replaceAll("'", '"')]) {
    try {
      return JSON.parse(candidate);
    } catch {
      continue;
    }
  }
  return undefined;
}

/** An option that is one of some names. What is none of them is answered with near ones. */
export function oneOf<const T extends readonly string[]>(names: T) {
  return z.enum(names, { error: ({ input }) => `${JSON.stringify(input)} is unknown${suggest(String(input), names)}` });
}

/** Options of a command from its arguments. Throws UsageError naming the flag. */
export function parseOptions<S extends z.ZodObject>(
  command: Command<S>,
  args: readonly string[],
  extraHelp = "",
): Promise<{ options: z.output<S>; positionals: string[] } | "help"> {
  return parse(command, fieldsOf(command.options), args, extraHelp);
}

async function parse<S extends z.ZodObject>(
  command: Command<S>,
  fields: readonly Field[],
  args: readonly string[],
  extraHelp: string,
) {
  const given: Record<string, unknown> = {};
  const program = new Commander(`graft ${command.name}`);
  program
    .description(command.description ?? command.summary)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined, outputError: () => undefined });
  for (const { syntax, description } of [command.positional ?? []].flat()) program.argument(syntax, description);
  for (const field of fields) {
    const value = field.kind === "boolean" ? "[true|false]" : `<${field.kind === "array" ? "list" : field.kind}>`;
    const short = field.short === undefined ? "" : `-${field.short}, `;
    const option = new Option(`${short}--${field.flag} ${value}`, describe(field));
    option.argParser((text: string, before: unknown) => {
      given[field.name] = readValue(field, text, before);
      return given[field.name];
    });
    program.addOption(option);
  }
  program.option("--config <file>", "read options from a .json, .yaml or .toml file; flags win");
  program.option("--debug", "show the stack of an error");
  program.addHelpText("after", `\nExamples:\n${command.examples.map((line) => `  ${line}`).join("\n")}${extraHelp}`);
  let positionals: string[];
  try {
    program.parse(canonicalArguments(args, fields), { from: "user" });
    positionals = program.args;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === "commander.helpDisplayed" || error.code === "commander.help") return "help" as const;
    throw new UsageError(usageMessage(error, command.name, fields));
  }
  const file = program.opts<{ config?: string }>().config;
  const fromFile = file === undefined ? {} : await readConfigFile(file, command.name, fields);
  const all = { ...fromFile, ...given };
  const result = command.options.safeParse(all);
  if (!result.success) {
    const problems = result.error.issues.map(({ path: [name, ...inside], message, code }) => {
      if (name === undefined) return message; // a rule over several options
      const option = String(name);
      const flag = `--${toKebab(option)}`;
      if (!Object.hasOwn(all, option)) return `${flag} is required`;
      if (code === "invalid_value") return `${flag}: ${message}`; // says itself what was given
      const value = inside.reduce<unknown>((whole, key) => (whole as Record<PropertyKey, unknown>)[key], all[option]);
      return `${flag}: ${message}, not ${JSON.stringify(value)}`;
    });
    throw new UsageError(problems.join("; "));
  }
  return { options: result.data, positionals };
}

function describe({ description, fallback }: Field): string {
  return fallback === undefined || fallback === null
    ? description
    : `${description} (default: ${JSON.stringify(fallback)})`;
}

function usageMessage(error: CommanderError, command: string, fields: readonly Field[]): string {
  const unknown = /unknown option '--([^'=]+)/.exec(error.message)?.[1];
  if (unknown !== undefined) return `unknown option --${unknown}${nearFlags(unknown, command, fields)}`;
  return error.message.replace(/^error: /, "");
}

/** The end of a message about an option that is not there. */
function nearFlags(flag: string, command: string, fields: readonly Field[]): string {
  const near = nearNames(
    flag,
    fields.map((field) => field.flag),
  );
  if (near.length === 0) return `; \`graft ${command} --help\` lists the options`;
  return `; did you mean ${near.map((name) => `--${name}`).join(" or ")}?`;
}

async function readConfigFile(
  path: string,
  command: string,
  fields: readonly Field[],
): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await Bun.file(path).text();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${path}: cannot be read (${reason})`, { cause });
  }
  const parsers: Record<string, (source: string) => unknown> = {
    ".json": JSON.parse,
    ".yaml": Bun.YAML.parse,
    ".yml": Bun.YAML.parse,
    ".toml": Bun.TOML.parse,
  };
  const parser = parsers[extname(path)];
  if (!parser) throw new ConfigError(`${path}: a config file ends in .json, .yaml or .toml`);
  let value: unknown;
  try {
    value = parser(text);
  } catch (cause) {
    throw new ConfigError(`${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ConfigError(`${path}: is not a map of options`);
  const known = new Set(fields.map((field) => field.name));
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => {
      const name = toCamel(key);
      if (!known.has(name))
        throw new UsageError(`${path}: unknown option ${key}${nearFlags(toKebab(name), command, fields)}`);
      return [name, entry];
    }),
  );
}
