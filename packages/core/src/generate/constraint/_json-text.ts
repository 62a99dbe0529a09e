/** The parts of JSON texts (RFC 8259) as grammars. */
import { ALL, type CodePoints, contains, union, utf8, without } from "./_code-points.ts";
import {
  alt,
  altOf,
  byteRange,
  EMPTY,
  literal,
  NEVER,
  type Node,
  oneOfTexts,
  optional,
  repeat,
  rule,
  seq,
} from "./_grammar.ts";

/** Blanks of an indented line at the most, so that a model cannot go on with blanks for ever. */
const MAX_INDENT = 32;
/** Digits of a number: with these exponents it stays finite. */
const MAX_DIGITS = 18;

const digit = byteRange(0x30, 0x39);
const hex = alt(digit, byteRange(0x41, 0x46), byteRange(0x61, 0x66));

/** Between brackets, items and commas: nothing, a blank, or a new line with its indentation. */
export const gap = optional(alt(literal(" "), seq(literal("\n"), repeat(literal(" "), 0, MAX_INDENT))));
export const comma = seq(literal(","), gap);
export const colon = seq(literal(":"), optional(literal(" ")));

/** Characters that a string must escape: controls, the quote, the backslash. */
const ESCAPED: CodePoints = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];
export const plainCharacter = utf8(without(ALL, ESCAPED));

// An escaped half of a pair is no character, and a pair is one: lengths count characters.
const unicodeEscape = seq(
  literal("\\u"),
  alt(
    seq(alt(digit, ...ranges("ac", "AC", "ef", "EF")), repeat(hex, 3, 3)),
    seq(oneOfTexts(["d", "D"]), byteRange(0x30, 0x37), hex, hex),
    seq(
      seq(oneOfTexts(["d", "D"]), alt(...ranges("89", "ab", "AB")), hex, hex),
      seq(literal("\\u"), oneOfTexts(["d", "D"]), alt(...ranges("cf", "CF")), hex, hex),
    ),
  ),
);

/** One character of a string, in any spelling. */
export const character = alt(
  plainCharacter,
  oneOfTexts(Array.from(`"\\/bfnrt`, (letter) => `\\${letter}`)),
  unicodeEscape,
);

/** One character of the set, in the one spelling that JSON.stringify gives it. */
export function characterOf(set: CodePoints): Node {
  const escaped: string[] = [];
  for (const [lo, hi] of ESCAPED) {
    for (let code = lo; code <= hi; code++) {
      if (contains(set, code)) escaped.push(JSON.stringify(String.fromCodePoint(code)).slice(1, -1));
    }
  }
  return alt(utf8(without(set, ESCAPED)), oneOfTexts(escaped));
}

export function quoted(content: Node): Node {
  return seq(literal('"'), content, literal('"'));
}

export const anyString = quoted(repeat(character, 0));

/** A string without escapes that is none of `names`. */
export function stringExcept(names: readonly string[]): Node {
  const others = new Map<string, Node>();
  // Characters but those taken, then anything: a name that begins like none of the others from here on.
  const otherThan = (taken: readonly string[]): Node => {
    const key = taken.toSorted().join("");
    const codes = taken.map((first) => first.codePointAt(0)!);
    const set = without(without(ALL, ESCAPED), union(codes.map((code) => [code, code] as const)));
    const node = others.get(key) ?? seq(utf8(set), repeat(plainCharacter, 0));
    others.set(key, node);
    return node;
  };
  const except = (left: readonly (readonly string[])[]): Node => {
    const going = left.filter((name) => name.length > 0);
    const groups = Map.groupBy(going, ([first]) => first!);
    const branches = [...groups].map(([first, group]) =>
      seq(literal(first), except(group.map((name) => name.slice(1)))),
    );
    return altOf([going.length === left.length ? EMPTY : NEVER, otherThan([...groups.keys()]), ...branches]);
  };
  return quoted(except(names.filter((name) => JSON.stringify(name) === `"${name}"`).map((name) => [...name])));
}

const integerPart = alt(literal("0"), seq(byteRange(0x31, 0x39), repeat(digit, 0, MAX_DIGITS - 1)));
export const anyInteger = seq(optional(literal("-")), integerPart);
export const anyNumber = seq(
  anyInteger,
  optional(seq(literal("."), repeat(digit, 1, MAX_DIGITS))),
  optional(seq(oneOfTexts(["e", "E"]), optional(oneOfTexts(["+", "-"])), repeat(digit, 1, 2))),
);

export const anyBoolean = oneOfTexts(["true", "false"]);

/** Brackets around `some`, which is not empty; with `mayBeEmpty` also around nothing. */
export function bracketed(open: string, some: Node, mayBeEmpty: boolean, close: string): Node {
  return alt(mayBeEmpty ? literal(open + close) : NEVER, seq(literal(open), gap, some, gap, literal(close)));
}

/** Items of one kind with commas between them, at least one. */
export function listOf(item: Node, min = 1, max = Number.POSITIVE_INFINITY): Node {
  return max < 1 ? NEVER : seq(item, repeat(seq(comma, item), Math.max(0, min - 1), max - 1));
}

/** Any value, and any object. */
export const [anyValue, anyObject] = ((): readonly [Node, Node] => {
  const [value, object] = [rule(), rule()];
  object.body = bracketed("{", listOf(seq(anyString, colon, value)), true, "}");
  const array = bracketed("[", listOf(value), true, "]");
  value.body = alt(object, array, anyString, anyNumber, anyBoolean, literal("null"));
  return [value, object];
})();

function ranges(...pairs: readonly string[]): Node[] {
  return pairs.map((pair) => byteRange(pair.charCodeAt(0), pair.charCodeAt(1)));
}
