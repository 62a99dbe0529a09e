/** Regular expressions of JSON Schema's `pattern` (ECMA-262 with the u flag) as grammars over the text between a JSON string's quotes. */
import { type AST, RegExpParser } from "@eslint-community/regexpp";
import { ConfigError } from "../../errors/index.ts";
import { ALL, type CodePoints, complement, MAX_CODE_POINT, union } from "./_code-points.ts";
import { alt, EMPTY, NEVER, type Node, repeat, seq } from "./_grammar.ts";
import { characterOf } from "./_json-text.ts";

const MAX_LENGTH = 2000;
const MAX_DEPTH = 50;

/** A part of a pattern, with the numbers of characters its texts may have. */
interface Part {
  readonly node: Node;
  readonly min: number;
  readonly max: number;
}

const nothing: Part = { node: EMPTY, min: 0, max: 0 };

/**
 * Texts that match the pattern and have min to max characters. Throws ConfigError beginning with `place` for what no grammar can keep (references back, looking around, \b), and
 * where the length would have to be counted in more than one place.
 */
export function patternGrammar(pattern: string, place: string, minLength: number, maxLength: number): Node {
  const fail = (why: string): never => {
    throw new ConfigError(`${place}: pattern ${JSON.stringify(pattern.slice(0, 80))} ${why}`);
  };
  if (pattern.length > MAX_LENGTH) fail(`has ${pattern.length} characters, the limit is ${MAX_LENGTH}`);
  let depth = 0;
  for (const letter of pattern) {
    if (letter === "(" && ++depth > MAX_DEPTH) fail(`has groups ${MAX_DEPTH} deep`);
    if (letter === ")") depth--;
  }
  let parsed: AST.Pattern;
  try {
    parsed = new RegExpParser().parsePattern(pattern, 0, pattern.length, { unicode: true });
  } catch (error) {
    return fail(`is no regular expression: ${error instanceof Error ? error.message : String(error)}`);
  }
  const context: Context = { fail, characters: new Map(), properties: new Map() };
  return alt(
    ...parsed.alternatives.map(({ elements }) => {
      // Without an anchor there may be other text before and behind.
      const parts = elements.filter((element) => !isAnchor(element));
      const [first, last] = [elements[0], elements.at(-1)];
      const isAnchored = {
        start: first?.type === "Assertion" && first.kind === "start",
        end: last?.type === "Assertion" && last.kind === "end",
      };
      if (parts.length + Number(isAnchored.start) + Number(isAnchored.end) !== elements.length)
        fail("has ^ or $ inside: only its beginning and its end may be anchored");
      const inner = parts.map((element) => partOf(element, context));
      const any = countable(of(ALL, context), 0, Number.POSITIVE_INFINITY);
      return within(
        [...(isAnchored.start ? [] : [any]), ...inner, ...(isAnchored.end ? [] : [any])],
        minLength,
        maxLength,
        fail,
      );
    }),
  );
}

interface Context {
  readonly fail: (why: string) => never;
  readonly characters: Map<string, Node>;
  readonly properties: Map<string, CodePoints>;
}

/** A repeat of single characters, whose count is the length. */
interface Countable extends Part {
  readonly one?: Node;
}

function countable(one: Node, min: number, max: number): Countable {
  return { node: repeat(one, min, max), min, max, one };
}

/** The parts in a row, with a length in bounds: where one part alone has a free length, its count is narrowed. */
function within(parts: readonly Countable[], minLength: number, maxLength: number, fail: (why: string) => never): Node {
  const whole = row(parts);
  if (whole.min >= minLength && whole.max <= maxLength) return whole.node;
  if (whole.max < minLength || whole.min > maxLength) return NEVER;
  const free = parts.flatMap((part, i) => (part.min === part.max ? [] : [i]));
  const part = parts[free[0]!]!;
  if (free.length !== 1 || !part.one)
    return fail(
      "stands beside minLength or maxLength, which cannot be kept with it: write the length into the pattern",
    );
  const others = whole.min - part.min;
  const narrow = repeat(part.one, Math.max(part.min, minLength - others), Math.min(part.max, maxLength - others));
  return seq(...parts.map(({ node }, i) => (i === free[0] ? narrow : node)));
}

function row(parts: readonly Part[]): Part {
  return parts.reduce(
    (all, { node, min, max }) => ({ node: seq(all.node, node), min: all.min + min, max: all.max + max }),
    nothing,
  );
}

function choice(alternatives: readonly AST.Alternative[], context: Context): Part {
  const parts = alternatives.map(({ elements }) => row(elements.map((element) => partOf(element, context))));
  return {
    node: alt(...parts.map(({ node }) => node)),
    min: Math.min(...parts.map(({ min }) => min)),
    max: Math.max(...parts.map(({ max }) => max)),
  };
}

function partOf(element: AST.Element, context: Context): Countable {
  switch (element.type) {
    case "Character":
    case "CharacterSet":
    case "CharacterClass": {
      const one = of(codePoints(element, context), context);
      return { node: one, min: 1, max: 1, one };
    }
    case "Group":
      if (element.modifiers) context.fail("has flags in a group");
      return choice(element.alternatives, context);
    case "CapturingGroup":
      return choice(element.alternatives, context);
    case "Quantifier": {
      const { min, max } = element;
      const part = partOf(element.element, context);
      const times = (count: number, length: number): number => (count === 0 || length === 0 ? 0 : count * length);
      return {
        node: repeat(part.node, min, max),
        min: times(min, part.min),
        max: times(max, part.max),
        ...(part.one && part.node === part.one ? { one: part.one } : {}),
      };
    }
    case "Assertion":
      return context.fail(`has ${element.raw}, which constrained decoding cannot keep there`);
    case "Backreference":
    case "ExpressionCharacterClass":
      return context.fail(`has ${element.raw}, which constrained decoding cannot keep`);
    default:
      return element satisfies never;
  }
}

function of(set: CodePoints, { characters }: Context): Node {
  const key = set.join(";");
  const node = characters.get(key) ?? characterOf(set);
  characters.set(key, node);
  return node;
}

type CharacterPart = AST.Character | AST.CharacterSet | AST.CharacterClass | AST.CharacterClassRange;

function codePoints(element: CharacterPart, context: Context): CodePoints {
  switch (element.type) {
    case "Character":
      return [[element.value, element.value]];
    case "CharacterClassRange":
      return [[element.min.value, element.max.value]];
    case "CharacterClass": {
      const sets = element.elements.map((part) => codePoints(part as CharacterPart, context));
      return element.negate ? complement(union(...sets)) : union(...sets);
    }
    case "CharacterSet": {
      if (element.kind === "any") return complement(LINE_ENDS);
      const set = element.kind === "property" ? property(element.raw, context) : NAMED[element.kind];
      return element.kind !== "property" && element.negate ? complement(set) : set;
    }
    default:
      return element satisfies never;
  }
}

const LINE_ENDS: CodePoints = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const DIGITS: CodePoints = [[0x30, 0x39]];
/** ECMA-262, CharacterClassEscape. */
const NAMED: Record<"digit" | "word" | "space", CodePoints> = {
  digit: DIGITS,
  word: union(DIGITS, [
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ]),
  space: union(
    [
      [0x09, 0x0d],
      [0x20, 0x20],
      [0xa0, 0xa0],
      [0x1680, 0x1680],
      [0x2000, 0x200a],
      [0x202f, 0x202f],
      [0x205f, 0x205f],
      [0x3000, 0x3000],
      [0xfeff, 0xfeff],
    ],
    LINE_ENDS,
  ),
};

/** Each one is a walk over all of Unicode, 50 ms. */
const MAX_PROPERTIES = 4;

/** \p{...} or \P{...}, as the runtime's own tables have it. */
function property(raw: string, { properties, fail }: Context): CodePoints {
  const known = properties.get(raw);
  if (known) return known;
  if (properties.size >= MAX_PROPERTIES) fail(`has more than ${MAX_PROPERTIES} Unicode properties`);
  const test = new RegExp(`^${raw}$`, "u");
  const set: (readonly [number, number])[] = [];
  for (let code = 0; code <= MAX_CODE_POINT; code++) if (test.test(String.fromCodePoint(code))) set.push([code, code]);
  const ranges = union(set);
  properties.set(raw, ranges);
  return ranges;
}

function isAnchor(element: AST.Element): boolean {
  return element.type === "Assertion" && (element.kind === "start" || element.kind === "end");
}
