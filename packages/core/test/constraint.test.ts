import { expect, test } from "bun:test";
import Ajv2020, { type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openDevice } from "@graft/kernels";
import { ConfigError } from "../src/errors/index.ts";
import {
  argmax,
  type Constraint,
  type ConstraintCompiler,
  createConstraintCompiler,
  Generator,
  sample,
} from "../src/generate/index.ts";
import { loadBaseModel } from "../src/models/index.ts";
import { Random } from "../src/random/index.ts";
import { loadTokenizer, type Tokenizer } from "../src/text/index.ts";
import { schemas } from "./constraint-schemas.ts";
import { shared } from "./shared.ts";

const micro = join(import.meta.dir, "../../../models/graft-micro-llama");
const folders: Record<string, string> = { micro };
for (const name of shared ? ["gpt2", "openllama-zh-en", "tok512", "bloom-pretok"] : [])
  folders[name] = join(shared!, "tokenizers", name);

const ajv = addFormats.default(
  new Ajv2020({ strict: false, logger: false, validateSchema: false, ownProperties: true }),
);
const utf8 = new TextDecoder("utf-8", { fatal: true });
/** The end token of the tests, whatever else the vocabulary has there. */
const END = 2;
const compilers = new Map<Tokenizer, ConstraintCompiler>();

function compilerOf(tokenizer: Tokenizer): ConstraintCompiler {
  const compiler = compilers.get(tokenizer) ?? createConstraintCompiler(tokenizer, tokenizer.vocabSize, [END]);
  compilers.set(tokenizer, compiler);
  return compiler;
}

/** Takes allowed tokens at random, and after `patience` of them such as end something. Undefined where the text does not end. */
async function walk(
  tokenizer: Tokenizer,
  constraint: Constraint,
  seed: number,
  patience = 20,
): Promise<string | undefined> {
  const random = new Random(seed);
  const pick = (ids: readonly number[]): number => ids[Math.floor(random.uniform() * ids.length)]!;
  const closers = ['"', "}", "]", "null"].map((text) => tokenizer.idOf(text));
  const matcher = (await compilerOf(tokenizer).compile(constraint))();
  const bytes: number[] = [];
  const scores = new Float64Array(tokenizer.vocabSize);
  for (let n = 0; n < 500 && !matcher.isComplete; n++) {
    scores.fill(0);
    matcher.mask(scores);
    const ids = [...scores.keys()].filter((id) => scores[id] === 0);
    if (ids.length === 0) throw new Error(`no token is allowed behind ${utf8.decode(Uint8Array.from(bytes))}`);
    let id = pick(ids);
    if (n >= patience) {
      const short = ids.filter((other) => other !== END && tokenizer.bytesOf(other)!.length === 1);
      const end = ids.includes(END) ? END : closers.find((other) => other !== undefined && ids.includes(other));
      id = end !== undefined && random.uniform() < 0.9 ? end : pick(short.length > 0 ? short : ids);
    }
    if (id === END) return utf8.decode(Uint8Array.from(bytes));
    expect(tokenizer.isSpecial(id)).toBe(false);
    matcher.accept(id);
    bytes.push(...tokenizer.bytesOf(id)!);
  }
  return matcher.isComplete ? utf8.decode(Uint8Array.from(bytes)) : undefined;
}

for (const [name, folder] of Object.entries(folders)) {
  test.skipIf(!existsSync(folder))(`texts of random allowed tokens are valid: ${name}`, async () => {
    const tokenizer = loadTokenizer(folder);
    const seeds = tokenizer.vocabSize > 10_000 ? 2 : 10;
    for (const [title, schema] of Object.entries(schemas)) {
      const validate = ajv.compile(schema as object);
      let ended = 0;
      for (let seed = 0; seed < seeds; seed++) {
        const text = await walk(tokenizer, { type: "json_schema", schema }, seed);
        if (text === undefined) continue;
        ended++;
        const value: unknown = JSON.parse(text);
        if (!validate(value)) throw new Error(`${title}, seed ${seed}: ${text}: ${ajv.errorsText(validate.errors)}`);
      }
      if (2 * ended < seeds) throw new Error(`${title}: only ${ended} of ${seeds} texts ended`);
    }
  });
}

/** A vocabulary of the given texts, each byte-exact; id 2 ends. */
function vocabularyOf(texts: readonly string[]): Pick<Tokenizer, "bytesOf" | "isSpecial" | "vocabSize"> {
  const all = ["<unk>", "<s>", "</s>", ...texts];
  const encoder = new TextEncoder();
  return {
    vocabSize: all.length,
    bytesOf: (id) => (all[id] === undefined ? undefined : encoder.encode(all[id])),
    isSpecial: (id) => id < 3,
  };
}

test("of a small vocabulary exactly the tokens that some text goes on with are allowed", async () => {
  const letters = ["a", "b", "c", "1", "2", "0", '"', "-"];
  const tokens = [...letters, "ab", "bc", "abc", '"a', 'c"', '1"', "12", "00", "-1", "aa", "<s>"];
  const compiler = createConstraintCompiler(vocabularyOf(tokens), tokens.length + 8, [2]);
  // Every text of these letters up to six of them, by the schema's own meaning.
  const strings = (expression: RegExp) => (text: string) =>
    /^".*"$/.test(text) && expression.test(text.slice(1, -1)) && !text.slice(1, -1).includes('"');
  const cases: [object, (text: string) => boolean][] = [
    [{ type: "string", pattern: "^(?:ab|a?c){1,2}$" }, strings(/^(?:ab|a?c){1,2}$/)],
    [{ type: "string", pattern: "^[ab]*1$", maxLength: 3 }, strings(/^[ab]{0,2}1$/)],
    [{ enum: ["ab", "abc", 12, "c"] }, (text) => ['"ab"', '"abc"', "12", '"c"'].includes(text)],
    [
      { type: "integer", minimum: -12, maximum: 120 },
      (text) => /^(?:0|-?[12][012]*)$/.test(text) && +text >= -12 && +text <= 120,
    ],
  ];
  let all = [""];
  const texts: string[] = [];
  for (let length = 0; length < 6; length++) {
    all = all.flatMap((text) => letters.map((letter) => text + letter));
    texts.push(...all);
  }
  for (const [schema, isText] of cases) {
    const language = texts.filter(isText);
    const prefixes = new Set(language.flatMap((text) => Array.from(text, (_, i) => text.slice(0, i + 1))));
    const begin = await compiler.compile({ type: "json_schema", schema });
    const open: { readonly text: string; readonly ids: readonly number[] }[] = [{ text: "", ids: [] }];
    const seen = new Set<string>();
    for (let next = open.pop(); next; next = open.pop()) {
      if (seen.has(next.text)) continue;
      seen.add(next.text);
      const matcher = begin();
      for (const id of next.ids) matcher.accept(id);
      const scores = new Float64Array(tokens.length + 8);
      matcher.mask(scores);
      const wanted = [
        ...(language.includes(next.text) ? [2] : []),
        ...tokens.slice(0, -1).flatMap((token, i) => (prefixes.has(next!.text + token) ? [i + 3] : [])),
      ];
      expect({ text: next.text, ids: [...scores.keys()].filter((id) => scores[id] === 0) }).toEqual({
        text: next.text,
        ids: wanted,
      });
      expect(matcher.isComplete).toBe(wanted.length === 1 && wanted[0] === 2);
      for (const id of wanted) if (id !== 2) open.push({ text: next.text + tokens[id - 3]!, ids: [...next.ids, id] });
      expect(() => matcher.accept(1)).toThrow("token 1 may not follow");
    }
    expect(seen.size).toBe(prefixes.size + 1);
  }
});

test("any JSON object is an object, and ends", async () => {
  const tokenizer = loadTokenizer(micro);
  let ended = 0;
  for (let seed = 0; seed < 20; seed++) {
    const text = await walk(tokenizer, { type: "json_object" }, seed);
    if (text === undefined) continue;
    ended++;
    const value: unknown = JSON.parse(text);
    expect(typeof value === "object" && value !== null && !Array.isArray(value)).toBe(true);
  }
  expect(ended).toBeGreaterThan(15);
});

test("blanks come to an end", async () => {
  const tokenizer = vocabularyOf(Array.from({ length: 96 }, (_, i) => (i === 95 ? "\n" : String.fromCharCode(32 + i))));
  const matcher = (await createConstraintCompiler(tokenizer, 99, [2]).compile({ type: "json_object" }))();
  const idOf = (text: string): number => (text === "\n" ? 98 : 3 + text.charCodeAt(0) - 32);
  const mayFollow = (text: string): boolean => {
    const scores = new Float64Array(99);
    matcher.mask(scores);
    return scores[idOf(text)] === 0;
  };
  expect(mayFollow(" ")).toBe(false);
  matcher.accept(idOf("{"));
  matcher.accept(idOf("\n"));
  let blanks = 0;
  for (; mayFollow(" "); blanks++) matcher.accept(idOf(" "));
  expect(blanks).toBe(32);
  expect(mayFollow("\n")).toBe(false);
  expect(mayFollow('"')).toBe(true);
});

test("a token that ends within a character is left out where its end may not come", async () => {
  const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
  const half = Uint8Array.of(0xc3);
  const vocabulary = vocabularyOf([...ascii, "é"]);
  const withHalf = {
    ...vocabulary,
    vocabSize: 100,
    bytesOf: (id: number) => (id === 99 ? half : vocabulary.bytesOf(id)),
  };
  const matcher = (
    await createConstraintCompiler(withHalf, 100, [2]).compile({ type: "json_schema", schema: { type: "string" } })
  )();
  matcher.accept(3 + 2);
  const scores = new Float64Array(100);
  matcher.mask(scores);
  expect(scores[98]).toBe(0);
  expect(scores[99]).toBe(Number.NEGATIVE_INFINITY);
});

test("a vocabulary without the letters that a schema asks for is an error, not a hang", async () => {
  const matcher = (
    await createConstraintCompiler(vocabularyOf(["{", "}"]), 5, [2]).compile({
      type: "json_schema",
      schema: { type: "null" },
    })
  )();
  expect(() => matcher.mask(new Float64Array(5))).toThrow("no token of the model's vocabulary");
});

const refused: readonly (readonly [unknown, string])[] = [
  [12, "schema #: is 12, not a schema"],
  [undefined, "has a undefined"],
  [JSON.parse('{"const": 1e999}'), "has a number that is too large"],
  [{ type: "text" }, 'schema #: type is "text"'],
  [{ type: [] }, "schema #: type is []"],
  [{ properties: { a: { items: { not: {} } } } }, 'schema #/properties/a/items: "not" cannot be kept'],
  [{ properties: { "a/b~": { if: {} } } }, 'schema #/properties/a~1b~0: "if" cannot be kept'],
  [{ type: "array", uniqueItems: true }, "uniqueItems cannot be kept"],
  [{ type: "number", multipleOf: 0.1 }, "multipleOf cannot be kept"],
  [{ type: "array", items: [{}] }, "use prefixItems"],
  [{ type: "string", format: "regex" }, 'format "regex" cannot be kept: leave it out, or use one of date-time'],
  [{ type: "string", minLength: -1 }, "minLength is -1, not a whole number"],
  [{ type: "string", pattern: "(" }, "is no regular expression"],
  [{ properties: [] }, "properties is [], not an object"],
  [{ required: "a" }, 'required is "a", not a list'],
  [{ required: [1] }, "required is 1, not a text"],
  [{ enum: {} }, "enum is {}, not a list"],
  [{ anyOf: [] }, "anyOf is empty"],
  [{ oneOf: [{ type: "integer" }, { type: "number" }] }, "branches 0 and 1 of oneOf may both hold"],
  [{ oneOf: [{ properties: { a: {} } }, { properties: { b: {} } }] }, "branches 0 and 1 of oneOf may both hold"],
  [{ $ref: "#" }, "refers to itself"],
  [{ $ref: "#/$defs/a" }, '$ref "#/$defs/a" refers to nothing'],
  [{ $ref: "https://example.com/schema" }, "does not begin with #/"],
  [{ $ref: 1 }, "$ref is no text"],
  [
    { $defs: { a: { anyOf: [{ $ref: "#/$defs/b" }] }, b: { $ref: "#/$defs/a" } }, $ref: "#/$defs/a" },
    "refers to itself",
  ],
  [false, "no finite value fits it"],
  [{ type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, "no finite value fits it"],
  [{ type: "object", properties: { a: false }, required: ["a"] }, "no finite value fits it"],
  [{ type: "object", properties: { a: false }, minProperties: 1 }, "no finite value fits it"],
  [{ type: "integer", minimum: 3, maximum: 2 }, "no finite value fits it"],
  [{ type: "string", enum: [1] }, "no finite value fits it"],
  [{ type: "array", items: false, minItems: 1 }, "no finite value fits it"],
  [{ allOf: [{ type: "string" }, { type: "null" }] }, "no finite value fits it"],
  [{ type: "object", minProperties: 3 }, "minProperties 3 cannot be kept"],
  [{ type: "object", properties: { a: {}, b: {} }, maxProperties: 1 }, "maxProperties 1 cannot be kept"],
  [{ enum: ["a"], pattern: "a" }, "enum or const beside keywords"],
  [{ allOf: [{ pattern: "a" }, { pattern: "b" }] }, "two patterns"],
];

test("what cannot be kept is refused with its place", async () => {
  const compiler = compilerOf(loadTokenizer(micro));
  for (const [schema, why] of refused) {
    const error = await compiler.compile({ type: "json_schema", schema }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toContain(why);
  }
});

test("schemas made to exhaust the server are refused, or cost no more than others", async () => {
  const tokenizer = loadTokenizer(micro);
  let deep: object = { type: "null" };
  for (let i = 0; i < 5000; i++) deep = { items: deep };
  const doubling = (word: string): object => ({
    $defs: Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [
        `d${i}`,
        i === 39 ? { type: "null" } : { [word]: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] },
      ]),
    ),
    $ref: "#/$defs/d0",
  });
  const hostile = [
    deep,
    doubling("allOf"),
    doubling("anyOf"),
    doubling("oneOf"),
    { enum: ["x".repeat(600_000)] },
    { enum: Array.from({ length: 60_000 }, () => 1) },
  ];
  for (const schema of hostile)
    expect(
      await compilerOf(tokenizer)
        .compile({ type: "json_schema", schema })
        .catch((error: unknown) => error),
    ).toBeInstanceOf(ConfigError);
  const costly = [
    { type: "string", minLength: 1_000_000_000 },
    { type: "array", minItems: 1_000_000_000 },
    { type: "string", pattern: "^(?:[a-z]{1,1000000000},?)*!$" },
    { type: "string", pattern: "^(([a-z]*,?)*;?)*!$" },
    { type: "string", pattern: "^(([a-z]{1,300}){1,300}){1,300}$" },
    { type: "string", pattern: `^${".*".repeat(300)}$` },
    { type: "string", pattern: "a.{500}b" },
    { enum: Array.from({ length: 20_000 }, (_, i) => `value ${i}`) },
  ];
  for (const schema of costly) {
    const result = await walk(tokenizer, { type: "json_schema", schema }, 1).catch((error: unknown) => error);
    if (result instanceof Error) expect(result.message).toContain("too many ways open");
  }
});

/** A random schema, mostly of keywords in their right places. */
function randomSchema(random: Random, depth: number): unknown {
  const chance = (p: number): boolean => random.uniform() < p;
  const below = (n: number): number => Math.floor(random.uniform() * n);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const inner = (): unknown => randomSchema(random, depth - 1);
  const junk = (): unknown => pick<unknown>([null, -1, 1.5, "x", [], {}, true, [null], { a: 1 }, 1e9]);
  const small = (): number => below(5);
  const makers: Record<string, () => unknown> = {
    type: () =>
      pick<unknown>([
        "object",
        "array",
        "string",
        "number",
        "integer",
        "boolean",
        "null",
        ["string", "null"],
        ["integer", "array"],
      ]),
    enum: () =>
      Array.from({ length: 1 + below(3) }, () => pick<unknown>(["a", "b\n", 1, 2.5, null, true, { a: 1 }, [1]])),
    const: () => pick<unknown>(["a", 3, null, false, { b: [] }]),
    properties: () =>
      Object.fromEntries(
        Array.from({ length: below(4) }, () => [pick(["a", "b", "c", "é", "constructor", '"']), inner()]),
      ),
    required: () => Array.from({ length: below(3) }, () => pick(["a", "b", "d"])),
    additionalProperties: () => (chance(0.5) ? chance(0.5) : inner()),
    propertyNames: () => pick<unknown>([{ pattern: "^[ab]+$" }, { maxLength: 2 }, { enum: ["a", "z"] }]),
    minProperties: () => below(2),
    maxProperties: small,
    items: () => (chance(0.2) ? chance(0.5) : inner()),
    prefixItems: () => Array.from({ length: below(3) }, inner),
    minItems: small,
    maxItems: small,
    minLength: small,
    maxLength: small,
    pattern: () => pick(["^a+$", "b", "^[^x]{1,3}$", "^(?:ab|c)*\\d$", "[", "(?=a)"]),
    format: () => pick(["date", "uuid", "email", "unknown"]),
    minimum: () => below(20) - 10,
    maximum: () => below(20) - 5,
    exclusiveMinimum: () => random.uniform() - 0.5,
    exclusiveMaximum: () => 3 * random.uniform(),
    anyOf: () => Array.from({ length: 1 + below(3) }, inner),
    oneOf: () => Array.from({ length: 1 + below(3) }, inner),
    allOf: () => Array.from({ length: 1 + below(2) }, inner),
    $ref: () => pick(["#", "#/$defs/a", "#/$defs/b", "#/nothing"]),
    title: () => "text",
    not: inner,
  };
  if (depth <= 0) return chance(0.1) ? chance(0.7) : { type: makers.type!() };
  const words = Object.keys(makers).slice(0, chance(0.02) ? undefined : -1);
  return Object.fromEntries(
    Array.from({ length: 1 + below(4) }, () => pick(words)).map((word) => [
      word,
      chance(0.01) ? junk() : makers[word]!(),
    ]),
  );
}

/** Undefined where the schema has a part that ajv cannot read, though no value gets there. */
function validatorOf(schema: object): ValidateFunction | undefined {
  try {
    return ajv.compile(schema);
  } catch {
    return undefined;
  }
}

test("random schemas are refused with an error of their own, or kept", async () => {
  const tokenizer = loadTokenizer(micro);
  let [kept, ended] = [0, 0];
  for (let seed = 0; seed < 1500; seed++) {
    const random = new Random(seed, 9);
    const root = randomSchema(random, 3);
    const $defs = { a: randomSchema(random, 1), b: randomSchema(random, 1) };
    const schema = typeof root === "object" ? { ...root, $defs } : root;
    const said = `seed ${seed}: ${JSON.stringify(schema)}`;
    try {
      const text = await walk(tokenizer, { type: "json_schema", schema }, seed, 6);
      kept++;
      if (text === undefined) continue;
      const value: unknown = JSON.parse(text);
      const validate = validatorOf(schema as object);
      if (validate && !validate(value)) throw new Error(`${text}: ${ajv.errorsText(validate.errors)}`);
      if (validate) ended++;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw new Error(said, { cause: error });
      // No schema is refused half way.
      if (/no token|too many ways/.test(error.message)) throw new Error(said, { cause: error });
    }
  }
  expect(kept).toBeGreaterThan(500);
  expect(ended).toBeGreaterThan(400);
});

test("grammars are made once, and the tokens of the texts that are going on stay right when others are made", async () => {
  const tokenizer = loadTokenizer(micro);
  const compiler = createConstraintCompiler(tokenizer, tokenizer.vocabSize, [END]);
  const of = (n: number): Constraint => ({ type: "json_schema", schema: { const: "a".repeat(n) } });
  const first = await compiler.compile(of(3));
  expect(await compiler.compile(of(3))).toBe(first);
  const matcher = first();
  for (let n = 4; n < 40; n++) await compiler.compile(of(n));
  expect(await compiler.compile(of(3))).not.toBe(first);
  for (const letter of ['"', "a", "a", "a", '"']) matcher.accept(tokenizer.idOf(letter)!);
  expect(matcher.isComplete).toBe(true);
});

test.skipIf(!existsSync(micro))("a model that knows no JSON writes JSON that is valid", async () => {
  const device = await openDevice();
  const model = loadBaseModel(device, micro);
  const generator = new Generator(model, { maxSequences: 1 });
  const tokenizer = loadTokenizer(micro);
  const { vocabSize } = model.config;
  const eosIds = model.generation.eosTokenIds;
  const schema = {
    type: "object",
    properties: {
      answer: { type: "string", maxLength: 12 },
      sure: { type: "boolean" },
      steps: { type: "array", items: { type: "integer" }, maxItems: 3 },
    },
    required: ["answer", "sure", "steps"],
    additionalProperties: false,
  };
  const validate = ajv.compile(schema);
  try {
    const begin = await createConstraintCompiler(tokenizer, vocabSize, eosIds).compile({ type: "json_schema", schema });
    const prompt = tokenizer.encode("What is 2 + 2?", { addSpecialTokens: true });
    for (const temperature of [0, 1]) {
      const random = new Random(4);
      const matcher = begin();
      const ids: number[] = [];
      while (!matcher.isComplete) {
        const scores = Float64Array.from(await generator.nextLogits([...prompt, ...ids], undefined));
        matcher.mask(scores);
        const id = temperature === 0 ? argmax(scores) : sample(scores, random);
        expect(eosIds).not.toContain(id);
        matcher.accept(id);
        ids.push(id);
        expect(ids.length).toBeLessThan(150);
      }
      const value: unknown = JSON.parse(tokenizer.decode(ids));
      if (!validate(value)) throw new Error(ajv.errorsText(validate.errors));
    }
  } finally {
    await generator.destroy();
    model.destroy();
    await device.close();
  }
});
