/** Files to train on, in one of three formats: the paper's instructions, OpenAI's chats, completions. The content says which. */
import { DataError } from "../errors/index.ts";
import { type JsonElement, jsonElementsOfBytes } from "./_json-elements.ts";
import { pacer } from "./_pacer.ts";
import { type ChatRow, parseChatRow } from "./chat-row.ts";
import { type CompletionRow, parseCompletionRow } from "./completion-row.ts";
import { describe, parseRow, readBytes, type Row } from "./rows.ts";

export type TrainingRows =
  | { readonly format: "instruction"; readonly rows: readonly Row[] }
  | { readonly format: "chat"; readonly rows: readonly ChatRow[] }
  | { readonly format: "completion"; readonly rows: readonly CompletionRow[] };
export type TrainingFormat = TrainingRows["format"];

/** What a format is known by, and how its rows are read. */
const formats: {
  readonly [F in TrainingFormat]: {
    /** A row with one of these is of this format. */
    readonly fields: readonly string[];
    readonly shape: string;
    parse(row: Readonly<Record<string, unknown>>, where: string): Extract<TrainingRows, { format: F }>["rows"][number];
  };
} = {
  chat: { fields: ["messages"], shape: "messages", parse: parseChatRow },
  instruction: { fields: ["instruction"], shape: "instruction and output", parse: parseRow },
  completion: { fields: ["prompt", "completion"], shape: "prompt and completion", parse: parseCompletionRow },
};

export interface ReadTrainingOptions {
  /** Only so many rows, from the start; what follows is not looked at. */
  readonly maxRows?: number | undefined;
  /** Wrong rows that are told at once; the reading ends there. Default 10. */
  readonly maxProblems?: number;
  /** Of the file's text, once it is unpacked. Default 2 GiB. */
  readonly maxBytes?: number;
}

/** What a file holds. */
export interface TrainingFileInfo {
  readonly format: TrainingFormat;
  readonly rows: number;
}

/**
 * The rows of a .json or .jsonl file, plain or gzipped. Throws one DataError with the first wrong rows, each with its line, and what readRows throws of a file. A file
 * has one format.
 */
export async function readTrainingRows(path: string, options: ReadTrainingOptions = {}): Promise<TrainingRows> {
  const rows: unknown[] = [];
  const { format } = await eachRow(await readBytes(path, options.maxBytes), path, options, (row) => rows.push(row));
  // Each row is what the parser of the format made.
  return { format, rows } as TrainingRows;
}

/** Checks every row of a file and keeps none of them. Throws as readTrainingRows does. */
export async function inspectTrainingFile(path: string, options: ReadTrainingOptions = {}): Promise<TrainingFileInfo> {
  return eachRow(await readBytes(path, options.maxBytes), path, options);
}

/** As inspectTrainingFile, for bytes in hand; `source` is what errors call them. */
export function inspectTrainingBytes(
  bytes: Uint8Array,
  source: string,
  options: ReadTrainingOptions = {},
): Promise<TrainingFileInfo> {
  return eachRow(bytes, source, options);
}

async function eachRow(
  bytes: Uint8Array,
  source: string,
  { maxRows = Number.POSITIVE_INFINITY, maxProblems = 10 }: ReadTrainingOptions,
  take?: (row: unknown) => void,
): Promise<TrainingFileInfo> {
  const problems: DataError[] = [];
  const pace = pacer();
  let format: TrainingFormat | undefined;
  let rows = 0;
  const attempt = <T>(act: () => T): T | undefined => {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      problems.push(error);
      return undefined;
    }
  };
  const elements = jsonElementsOfBytes(bytes, source, (problem) => problems.push(problem));
  for (;;) {
    const next = attempt(() => elements.next());
    // What has no end or no encoding is the last that is said.
    if (next === undefined || next.done || problems.length >= maxProblems) break;
    const row = attempt(() => {
      const parsed = parseElement(next.value, source, format);
      format ??= parsed.format;
      return parsed.row;
    });
    if (row !== undefined) take?.(row);
    if (row !== undefined && ++rows >= maxRows) break;
    await pace();
  }
  if (problems.length > 0) throw problemsOf(problems, source, maxProblems);
  if (format === undefined) throw new DataError(`${source}: the file has no rows; it must hold at least one`);
  return { format, rows };
}

/** `known`: the format of the rows before. */
function parseElement(
  { value, line, index }: JsonElement,
  source: string,
  known: TrainingFormat | undefined,
): { format: TrainingFormat; row: unknown } {
  const where = `${source}: line ${line}: row ${index + 1}`;
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const found = isObject ? formatOf(value) : undefined;
  const format = found ?? known;
  if (format === undefined) {
    const given = !isObject
      ? `is ${describe(value)}`
      : Object.keys(value).length === 0
        ? "has no fields"
        : `has the fields ${Object.keys(value).join(", ")}`;
    const shapes = Object.values(formats).map(({ shape }) => shape);
    throw new DataError(`${where} is of no format: a row has ${shapes.join(", or ")}; this one ${given}`);
  }
  if (!isObject)
    throw new DataError(`${where} must be an object with the fields ${formats[format].shape}, got ${describe(value)}`);
  if (known !== undefined && format !== known)
    throw new DataError(
      `${where} is of the ${format} format, the file begins with the ${known} format; a file has one`,
    );
  return { format, row: formats[format].parse({ ...value }, where) };
}

function formatOf(row: object): TrainingFormat | undefined {
  const names = Object.keys(formats) as TrainingFormat[];
  return names.find((name) => formats[name].fields.some((field) => Object.hasOwn(row, field)));
}

/** One error for all. */
function problemsOf(problems: readonly DataError[], source: string, maxProblems: number): DataError {
  const [cause] = problems;
  const said = problems.map(({ message }) =>
    shown(message.startsWith(source) ? message.slice(source.length) : message),
  );
  if (said.length === 1) return new DataError(`${source}${said[0]}`, { cause });
  const count = said.length < maxProblems ? `${said.length} problems` : `the first ${said.length} problems`;
  return new DataError(`${source}: ${count}: ${said.map((one) => one.replace(/^: /, "")).join("; ")}`, { cause });
}

/** What a row says of itself may be long, or several lines. */
function shown(message: string): string {
  const line = message.replace(/\p{Cc}+/gu, " ");
  return line.length > MAX_SAID ? `${line.slice(0, MAX_SAID)}...` : line;
}

const MAX_SAID = 400;
