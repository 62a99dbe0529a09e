import { expect, test } from "bun:test";
import { ConfigError } from "../../errors/index.ts";
import { Random } from "../../random/index.ts";
import { ALL, complement, contains, type CodePoints, union, utf8, without } from "./_code-points.ts";
import { alt, literal, NEVER, type Node, oneOfTexts, optional, repeat, rule, seq } from "./_grammar.ts";
import { anyNumber, anyString, anyValue, stringExcept } from "./_json-text.ts";
import { type Bound, numberRange } from "./_number-range.ts";
import { patternGrammar } from "./_pattern.ts";
import { Automaton, type State } from "./automaton.ts";

/** Does the grammar have this text? */
function accepts(node: Node, text: string | Uint8Array): boolean {
  return reader(node)(text);
}

function reader(node: Node): (text: string | Uint8Array) => boolean {
  const automaton = new Automaton(node, 8, () => undefined);
  return (text) => {
    automaton.beginToken();
    let state: State | undefined = automaton.start();
    for (const byte of typeof text === "string" ? new TextEncoder().encode(text) : text)
      state = state && automaton.step(state, byte);
    return state?.isEnd ?? false;
  };
}

test("sequences, choices, repeats and rules have their texts", () => {
  const node = seq(literal("a"), repeat(alt(literal("b"), literal("cd")), 1, 3), optional(literal("é")));
  for (const text of ["ab", "acd", "abcdb", "abbbé", "acdé"]) expect(accepts(node, text)).toBe(true);
  for (const text of ["", "a", "ac", "abbbb", "abé!", "aé"]) expect(accepts(node, text)).toBe(false);
  const nested = rule();
  nested.body = seq(literal("("), repeat(nested, 0), literal(")"));
  expect(accepts(nested, "(()(()))")).toBe(true);
  expect(accepts(nested, "(()")).toBe(false);
  expect(accepts(NEVER, "")).toBe(false);
});

test("repeats of what may be empty end", () => {
  const node = repeat(repeat(optional(literal("a")), 0), 2, 1_000_000_000);
  for (const text of ["", "a", "aaaaaaa"]) expect(accepts(node, text)).toBe(true);
  const parts = repeat(seq(optional(literal("a")), optional(literal("b")), optional(literal("c"))), 3, 3);
  for (const text of ["", "abcabcabc", "cba", "aab"]) expect(accepts(parts, text)).toBe(true);
  for (const text of ["cbaa", "aaaa"]) expect(accepts(parts, text)).toBe(false);
});

test("counts of any size cost nothing until they are used", () => {
  const read = reader(repeat(literal("a"), 1_000_000_000));
  expect(read("a".repeat(50_000))).toBe(false);
});

test("a state seen by a token tells the same about every text up to the token's length", () => {
  const node = seq(repeat(alt(literal("a"), literal("bc")), 9, 14), literal("x"), repeat(literal("y"), 20));
  const automaton = new Automaton(node, 4, () => undefined);
  const texts = [""];
  for (let i = 0; i < texts.length && texts[i]!.length < 4; i++) for (const c of "abcxy") texts.push(texts[i]! + c);
  const walk = (from: State, text: string): State | undefined => {
    let state: State | undefined = from;
    for (const c of text) state = state && automaton.step(state, c.charCodeAt(0));
    return state;
  };
  const seen = new Set<State>();
  let state = automaton.start();
  for (const c of `${"a".repeat(10)}${"bc".repeat(3)}x${"y".repeat(25)}`) {
    automaton.beginToken();
    const short = automaton.seenByToken(state);
    seen.add(short);
    for (const text of texts) expect(walk(short, text) === undefined).toBe(walk(state, text) === undefined);
    state = automaton.step(state, c.charCodeAt(0))!;
  }
  expect(seen.size).toBeLessThan(25);
});

test("what leaves too many ways open is refused, not followed", () => {
  // After n characters the cut points of three nested counts.
  const node = repeat(repeat(repeat(literal("a"), 1, 300), 1, 300), 1, 300);
  expect(() => reader(node)("a".repeat(3000))).toThrow(ConfigError);
});

test("states that were forgotten go on", () => {
  // A state for each count: more than are kept.
  const read = reader(seq(repeat(literal("a"), 6000, 9000), literal("b")));
  for (const [count, isText] of [
    [5999, false],
    [6000, true],
    [9000, true],
    [9001, false],
  ] as const)
    expect(read(`${"a".repeat(count)}b`)).toBe(isText);
});

test("sets of characters are unions and complements of ranges", () => {
  expect(
    union(
      [[5, 7]],
      [
        [8, 9],
        [1, 2],
      ],
    ),
  ).toEqual([
    [1, 2],
    [5, 9],
  ]);
  expect(
    complement([
      [0, 4],
      [6, 0x10ffff],
    ]),
  ).toEqual([[5, 5]]);
  expect(without(ALL, [[1, 0x10fffe]])).toEqual([
    [0, 0],
    [0x10ffff, 0x10ffff],
  ]);
});

test("UTF-8 of a set is that of its characters", () => {
  const edges = [
    0, 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x3ffff, 0x40000, 0x10ffff,
  ];
  const random = new Random(5);
  for (let n = 0; n < 60; n++) {
    const pick = (): number =>
      random.uniform() < 0.5
        ? edges[Math.floor(random.uniform() * edges.length)]!
        : Math.floor(random.uniform() * 0x110000);
    const [a, b] = [pick(), pick()];
    const set: CodePoints = [[Math.min(a, b), Math.max(a, b)]];
    const read = reader(utf8(set));
    for (const code of [...edges, a, b, a - 1, a + 1, b - 1, b + 1, pick(), pick()]) {
      if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) continue;
      expect([code, read(String.fromCodePoint(code))]).toEqual([code, contains(set, code)]);
    }
  }
  const any = reader(utf8(ALL));
  for (const bad of [
    [0xc0, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xe0, 0x80, 0x80],
    [0x80],
    [0xff],
    [0xc3],
  ])
    expect(any(Uint8Array.from(bad))).toBe(false);
});

test("JSON's parts are what JSON.parse reads, but for its longest numbers and lone surrogates", () => {
  const [strings, numbers, values] = [reader(anyString), reader(anyNumber), reader(anyValue)];
  for (const text of ['""', '"a\\u00e9\\n\\/"', '"\\ud83d\\ude00 😀"']) expect(strings(text)).toBe(true);
  for (const text of ['"\u0001"', '"\\x"', '"\\ud83d"', '"\\ude00"', '"a', '"a"b"']) expect(strings(text)).toBe(false);
  for (const text of ["0", "-0", "-12.50", "1e9", "1.5E-10"]) expect(numbers(text)).toBe(true);
  for (const text of ["01", "+1", ".5", "1.", "1e", "-", "1e999", "NaN", ""]) expect(numbers(text)).toBe(false);
  for (const text of ["[]", '{"a": [1, {"b": null}]}', "[\n  1,\n  {}\n]", "[true,false]"])
    expect(values(text)).toBe(true);
  for (const text of ["[,]", "[1,]", '{"a"}', "{a:1}", "[1 , 2]", '{"a":  1}', "", "nul"])
    expect(values(text)).toBe(false);
});

test("a list of texts has those and no others", () => {
  const texts = ["", "a", "ab", "abc", "b", "éa", "éb"];
  const read = reader(oneOfTexts(texts));
  for (const text of texts) expect(read(text)).toBe(true);
  for (const text of ["abcd", "é", "c", "ba"]) expect(read(text)).toBe(false);
});

test("a string except some names is none of those", () => {
  const read = reader(stringExcept(["id", "idea", "é", 'a"b', ""]));
  for (const name of ["id", "idea", "é", ""]) expect(read(`"${name}"`)).toBe(false);
  for (const name of ["i", "ide", "ideas", "x", "éa", "e", "日本"]) expect(read(`"${name}"`)).toBe(true);
  expect(read('"\\u0069d"')).toBe(false);
});

test("numbers between bounds are those that compare so", () => {
  const bounds: (Bound | undefined)[] = [undefined];
  for (const value of [-1203, -10, -1.25, -1, -0.05, 0, 0.5, 0.125, 1, 7, 9.99, 10, 99.5, 1203])
    for (const isOpen of [false, true]) bounds.push({ value, isOpen });
  const texts = new Set<string>();
  for (const whole of ["0", "1", "2", "6", "7", "8", "9", "10", "11", "99", "100", "1202", "1203", "1204", "5000"])
    for (const fraction of [
      "",
      ".0",
      ".5",
      ".04",
      ".05",
      ".050",
      ".051",
      ".1",
      ".12",
      ".125",
      ".1250",
      ".13",
      ".24",
      ".25",
      ".26",
      ".98",
      ".99",
      ".990",
      ".991",
    ])
      for (const sign of ["", "-"]) texts.add(sign + whole + fraction);
  for (const lower of bounds)
    for (const upper of bounds) {
      if (!lower && !upper) continue;
      const [real, whole] = [reader(numberRange(lower, upper, false)), reader(numberRange(lower, upper, true))];
      for (const text of texts) {
        const value = Number(text);
        const isAbove = !lower || value > lower.value || (value === lower.value && !lower.isOpen);
        const isInside = isAbove && (!upper || value < upper.value || (value === upper.value && !upper.isOpen));
        // Minus zero is left out where there are bounds.
        if (Object.is(value, -0)) continue;
        const isInteger = !text.includes(".");
        if (real(text) !== isInside || whole(text) !== (isInside && isInteger))
          throw new Error(
            `${text} between ${JSON.stringify(lower)} and ${JSON.stringify(upper)}: ${real(text)}, ${whole(text)}`,
          );
      }
    }
});

test("numbers beside an open bound are not rounded to it", () => {
  const read = reader(numberRange({ value: 3, isOpen: true }, { value: 0.7 + 3, isOpen: true }, false));
  for (const text of ["3.00000000000000000001", "3.6999999999999999999", "3", "3.7"]) expect(read(text)).toBe(false);
  for (const text of ["3.00000000000001", "3.69999999999999", "3.5"]) expect(read(text)).toBe(true);
  expect(accepts(numberRange({ value: 0, isOpen: false }, undefined, false), "19.99")).toBe(true);
  expect(accepts(numberRange(undefined, { value: 1e22, isOpen: false }, true), "10000000000000000000000")).toBe(true);
});

test("patterns have the texts that RegExp finds", () => {
  const patterns = [
    ...[
      "^a+b?$",
      "a",
      "^a",
      "b$",
      "^(?:ab|a)*c{2,3}$",
      "^[^ab]$",
      "^(a|b?){2}$",
      "^(?<n>a)$",
      "",
      "^$",
      "a|^b$",
      "^.$",
      "^\\d\\w\\s$",
    ],
    ...[
      "^\\D\\W\\S$",
      "^[\\d\\s-]+$",
      "^\\p{Lu}\\P{L}$",
      "^[\\u{61}-c]*?$",
      "^(?:a{2}){2}$",
      '^["\\\\]+$',
      "^\\n\\t$",
      "^\\u0062\\x61\\cA?$",
      "^[]a$|c",
    ],
  ];
  const random = new Random(3);
  const letters = ["a", "b", "c", "A", "1", "_", " ", "-", '"', "\\", "\n", "\t", "é", "😀", "\u2028", "\u0001"];
  const texts = new Set(["", ...letters, "ab", "ccc", "abacc", "1a ", "A1", "aaaa", "\n\t", "ba\u0001", "ba"]);
  for (let n = 0; n < 400; n++)
    texts.add(
      Array.from(
        { length: 1 + random.uniform() * 5 },
        () => letters[Math.floor(random.uniform() ** 2 * letters.length)]!,
      ).join(""),
    );
  for (const source of patterns) {
    const read = reader(patternGrammar(source, "test", 0, Number.POSITIVE_INFINITY));
    const expression = new RegExp(source, "u");
    for (const text of texts) {
      const got = read(JSON.stringify(text).slice(1, -1));
      if (got !== expression.test(text)) throw new Error(`${source} on ${JSON.stringify(text)}: ${got}`);
    }
  }
});

test("a pattern is kept together with a length where one count gives it", () => {
  const read = reader(patternGrammar("^[a-z][a-z0-9]*!?$".replace("!?", "!"), "test", 4, 6));
  for (const [text, isText] of [
    ["ab!", false],
    ["abc!", true],
    ["abcde!", true],
    ["abcdef!", false],
  ] as const)
    expect(read(text)).toBe(isText);
  expect(accepts(patternGrammar("^\\d{4}$", "test", 2, 4), "1234")).toBe(true);
  expect(patternGrammar("^\\d{4}$", "test", 5, 9)).toBe(NEVER);
  expect(() => patternGrammar("^a*b*$", "at #/x", 1, 9)).toThrow(
    'at #/x: pattern "^a*b*$" stands beside minLength or maxLength',
  );
});

test("a pattern that no grammar keeps is refused by name", () => {
  const refused: Record<string, string> = {
    "(?=a)b": "has (?=a)",
    "(?<!a)b": "has (?<!a)",
    "\\bword": "has \\b",
    "(a)\\1": "has \\1",
    "(^a|b)c": "has ^",
    a$b: "only its beginning and its end",
    "(?i:a)": "has flags",
    "(": "is no regular expression",
    "a{2,1}": "is no regular expression",
    "\\p{Nonsense}": "is no regular expression",
  };
  for (const [source, why] of Object.entries(refused))
    expect(() => patternGrammar(source, "schema #/a", 0, 9e9)).toThrow(why);
  expect(() => patternGrammar("(".repeat(60), "#", 0, 9)).toThrow("groups 50 deep");
  expect(() => patternGrammar("a".repeat(3000), "#", 0, 9)).toThrow("3000 characters");
});
