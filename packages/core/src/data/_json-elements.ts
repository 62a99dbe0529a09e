/** Splits a JSON array or JSON Lines text into its elements, each with the line it starts on, so that errors can name it. */
import { DataError } from "../errors/index.ts";

export interface JsonElement {
  readonly value: unknown;
  /** Counts from 1. */
  readonly line: number;
  /** Counts from 0. */
  readonly index: number;
}

/**
 * The elements of a text that is either one JSON array or one JSON value a line; blank lines are skipped. The first
 * character decides. Throws DataError naming `source` and the line.
 */
export function* jsonElements(text: string, source: string): Generator<JsonElement> {
  const start = text.search(/[^\s\uFEFF]/);
  if (start < 0) throw new DataError(`${source}: the file is empty; it must hold at least one row`);
  yield* text[start] === "[" ? arrayElements(text, start, source) : lineElements(text, source);
}

function* lineElements(text: string, source: string): Generator<JsonElement> {
  let index = 0;
  let line = 0;
  for (const content of text.replace(/^\uFEFF/, "").split("\n")) {
    line++;
    if (content.trim() === "") continue;
    const hint = index === 0 ? "; a data file is one JSON array, or one JSON object on each line" : "";
    yield { value: parse(content, `${source}: line ${line}`, hint), line, index: index++ };
  }
}

function* arrayElements(text: string, open: number, source: string): Generator<JsonElement> {
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
    yield { value: parse(text.slice(begin, end), where, ""), line, index: index++ };
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

function parse(text: string, where: string, hint: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataError(`${where} is not valid JSON (${reason})${hint}`, { cause });
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
