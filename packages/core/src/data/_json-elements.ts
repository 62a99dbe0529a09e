/** Splits a JSON array or JSON Lines into its elements, each with the line it starts on, so that errors can name it. */
import { DataError } from "../errors/index.ts";

export interface JsonElement {
  readonly value: unknown;
  /** Counts from 1. */
  readonly line: number;
  /** Counts from 0. */
  readonly index: number;
}

/** Gets an element that is no JSON; the elements go on after it. Without one it is thrown. */
export type OnProblem = (problem: DataError) => void;

/**
 * The elements of a text that is either one JSON array or one JSON value a line; blank lines are skipped. The first
 * character decides. Throws DataError naming `source` and the line.
 */
export function* jsonElements(text: string, source: string, onProblem?: OnProblem): Generator<JsonElement> {
  const start = text.search(/[^\s\uFEFF]/);
  if (start < 0) throw emptyFile(source);
  yield* text[start] === "["
    ? arrayElements(text, start, source, onProblem)
    : lineElements(textLines(text.replace(/^\uFEFF/, "")), source, onProblem);
}

/** As jsonElements, for the bytes of a file; of lines only one is decoded at a time. Throws DataError for what is not UTF-8 too. */
export function* jsonElementsOfBytes(bytes: Uint8Array, source: string, onProblem?: OnProblem): Generator<JsonElement> {
  const begin = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  const start = bytes.findIndex((byte, i) => i >= begin && !isSpace(byte));
  if (start < 0) throw emptyFile(source);
  if (bytes[start] === OPEN_BRACKET) yield* jsonElements(decodeText(bytes, source), source, onProblem);
  else yield* lineElements(byteLines(bytes.subarray(begin), source), source, onProblem);
}

/** The text of bytes, without a byte order mark. Throws DataError beginning with `where` for what is not UTF-8. */
export function decodeText(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError(`${where}: the text is not UTF-8`, { cause });
  }
}

const [NEWLINE, OPEN_BRACKET] = [0x0a, 0x5b];

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

function emptyFile(source: string): DataError {
  return new DataError(`${source}: the file is empty; it must hold at least one row`);
}

function* textLines(text: string): Generator<string> {
  for (let at = 0; ;) {
    const end = text.indexOf("\n", at);
    yield text.slice(at, end < 0 ? text.length : end);
    if (end < 0) return;
    at = end + 1;
  }
}

function* byteLines(bytes: Uint8Array, source: string): Generator<string> {
  for (let at = 0, line = 1; ; line++) {
    const end = bytes.indexOf(NEWLINE, at);
    yield decodeText(bytes.subarray(at, end < 0 ? bytes.length : end), `${source}: line ${line}`);
    if (end < 0) return;
    at = end + 1;
  }
}

function* lineElements(lines: Iterable<string>, source: string, onProblem?: OnProblem): Generator<JsonElement> {
  let index = 0;
  let line = 0;
  for (const content of lines) {
    line++;
    if (content.trim() === "") continue;
    const hint = index === 0 ? "; a data file is one JSON array, or one JSON object on each line" : "";
    const parsed = parse(content, `${source}: line ${line}`, hint, onProblem);
    if (parsed) yield { value: parsed.value, line, index };
    index++;
  }
}

function* arrayElements(text: string, open: number, source: string, onProblem?: OnProblem): Generator<JsonElement> {
  let line = 1 + countNewlines(text, 0, open);
  let index = 0;
  let at = open + 1;
  for (;;) {
    const begin = skipSpace(text, at);
    line += countNewlines(text, at, begin);
    if (begin === text.length) throw new DataError(`${source}: line ${line}: the file ends inside its array`);
    if (text[begin] === "]" && index === 0) {
      checkNothingFollows(text, begin + 1, line, source);
      return;
    }
    const end = elementEnd(text, begin);
    const where = `${source}: line ${line}: row ${index + 1}`;
    if (end === text.length) throw new DataError(`${where} is cut short; the file ends inside it`);
    const parsed = parse(text.slice(begin, end), where, "", onProblem);
    if (parsed) yield { value: parsed.value, line, index };
    index++;
    line += countNewlines(text, begin, end);
    if (text[end] === "]") {
      checkNothingFollows(text, end + 1, line, source);
      return;
    }
    at = end + 1;
  }
}

/** The place of the comma or bracket that ends the element starting at `begin`, or the text's length. */
function elementEnd(text: string, begin: number): number {
  let depth = 0;
  for (let i = begin; i < text.length; i++) {
    switch (text.charAt(i)) {
      case '"':
        i = stringEnd(text, i);
        break;
      case "[":
      case "{":
        depth++;
        break;
      case ",":
        if (depth === 0) return i;
        break;
      case "]":
      case "}":
        if (depth-- === 0) return i;
        break;
      default:
    }
  }
  return text.length;
}

/** The closing quote of the string that opens at `open`, or the text's length. */
function stringEnd(text: string, open: number): number {
  for (let i = open + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i;
  }
  return text.length;
}

/** Undefined for what is no JSON, where somebody takes the problem. */
function parse(text: string, where: string, hint: string, onProblem?: OnProblem): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const problem = new DataError(`${where} is not valid JSON (${reason})${hint}`, { cause });
    if (!onProblem) throw problem;
    onProblem(problem);
    return undefined;
  }
}

function checkNothingFollows(text: string, at: number, line: number, source: string): void {
  const rest = skipSpace(text, at);
  if (rest === text.length) return;
  throw new DataError(`${source}: line ${line + countNewlines(text, at, rest)}: text follows the end of the array`);
}

function skipSpace(text: string, from: number): number {
  let i = from;
  while (i < text.length && " \t\r\n".includes(text[i]!)) i++;
  return i;
}

function countNewlines(text: string, from: number, to: number): number {
  let count = 0;
  for (let i = text.indexOf("\n", from); i >= 0 && i < to; i = text.indexOf("\n", i + 1)) count++;
  return count;
}
