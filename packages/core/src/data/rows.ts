/** Instruction data in the format of Alpaca and LLM-Adapters: a JSON array or JSON Lines of {instruction, input, output, answer}. */
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { DataError } from "../errors/index.ts";
import { decodeText, type JsonElement, jsonElements } from "./_json-elements.ts";

/** One problem: what is asked, and what a good response is. */
export interface Row {
  readonly instruction: string;
  /** Further context; empty where the instruction says all. */
  readonly input: string;
  /** The response to train on; empty where the file has none. */
  readonly output: string;
  /** The gold answer that evaluation compares with. */
  readonly answer?: string;
  /** Every other field of the row, as it was. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

export interface ReadRowsOptions {
  /** Fields that must be there besides `instruction`. Default: output. Evaluation asks for the answer instead. */
  readonly require?: readonly ("output" | "answer")[];
}

/**
 * The rows of a .json or .jsonl file, plain or gzipped; the content decides, not the name. Throws DataError naming file, line, row and field:
 * no such file, damaged gzip, not UTF-8, not JSON, no rows, a field missing or of the wrong type.
 */
export async function readRows(path: string, options: ReadRowsOptions = {}): Promise<Row[]> {
  return parseRows(await readText(path), path, options);
}

/**
 * The values of a .json or .jsonl file, plain or gzipped, whatever they are, each with the line it starts on. Throws DataError as readRows does, but for the fields.
 */
export async function readJsonElements(path: string): Promise<JsonElement[]> {
  const elements = [...jsonElements(await readText(path), path)];
  if (elements.length === 0) throw new DataError(`${path}: the list is empty; it must hold at least one entry`);
  return elements;
}

/** As readRows, for text in hand; `source` is what errors call it. */
export function parseRows(text: string, source: string, options: ReadRowsOptions = {}): Row[] {
  const required = options.require ?? ["output"];
  const rows: Row[] = [];
  for (const { value, line, index } of jsonElements(text, source)) {
    rows.push(parseRow(value, `${source}: line ${line}: row ${index + 1}`, required));
  }
  if (rows.length === 0) throw new DataError(`${source}: the file has no rows; it must hold at least one`);
  return rows;
}

/** The text of a file, plain or gzipped, without a byte order mark. Throws DataError: no such file, damaged gzip, not UTF-8. */
export async function readText(path: string): Promise<string> {
  return decodeText(await readBytes(path), path);
}

/** The bytes of a file, gunzipped if it is gzip. Throws DataError: no such file, damaged gzip, more than `maxBytes` once unpacked. */
export async function readBytes(path: string, maxBytes = MAX_BYTES): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException; // node:fs throws nothing else
    const problem =
      code === "ENOENT"
        ? "no such file"
        : code === "EISDIR"
          ? "is a folder; give a .json or .jsonl file"
          : `cannot be read (${message})`;
    throw new DataError(`${path}: ${problem}`, { cause });
  }
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    try {
      return gunzipSync(bytes, { maxOutputLength: maxBytes });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(path, maxBytes, { cause });
      throw new DataError(`${path}: the gzip stream is damaged or cut short`, { cause });
    }
  }
  if (bytes.length > maxBytes) throw tooLarge(path, maxBytes);
  return bytes;
}

/** A few bytes of gzip may unpack to more than there is memory. */
const MAX_BYTES = 2 ** 31;

function tooLarge(path: string, maxBytes: number, options?: ErrorOptions): DataError {
  return new DataError(`${path}: holds more than ${maxBytes} bytes; split it`, options);
}

/** One row, as readRows has them. `where`: what errors begin with. */
export function parseRow(value: unknown, where: string, required: readonly ("output" | "answer")[] = ["output"]): Row {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new DataError(
      `${where} must be an object with the fields instruction and ${required.join(", ")}, got ${describe(value)}`,
    );
  }
  // JSON.parse gives plain objects, and every field is checked below.
  const { instruction, input, output, answer, ...extra } = value as Record<string, unknown>;
  for (const name of ["instruction", ...required]) {
    if (Object.hasOwn(value, name)) continue;
    const given = Object.keys(value);
    throw new DataError(
      `${where}: field "${name}" is missing; the row has ${given.length === 0 ? "no fields" : `the fields ${given.join(", ")}`}`,
    );
  }
  const row = {
    instruction: text(instruction, "instruction", where),
    input: input === undefined || input === null ? "" : text(input, "input", where),
    output: output === undefined ? "" : text(output, "output", where),
    ...(answer === undefined ? {} : { answer: scalar(answer, "answer", where) }),
    ...(Object.keys(extra).length === 0 ? {} : { extra }),
  };
  if (row.instruction.trim() === "") throw new DataError(`${where}: field "instruction" is empty`);
  return row;
}

function text(value: unknown, name: string, where: string): string {
  if (typeof value === "string") return value;
  throw new DataError(`${where}: field "${name}" must be a string, got ${describe(value)}`);
}

/** Gold answers come as strings, numbers or booleans. */
function scalar(value: unknown, name: string, where: string): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw new DataError(`${where}: field "${name}" must be a string or a number, got ${describe(value)}`);
}

/** What a value is, for the end of a message. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  const type = typeof value;
  return type === "object" ? "an object" : `the ${type} ${JSON.stringify(value).slice(0, 40)}`;
}
