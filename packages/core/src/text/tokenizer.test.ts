import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtures, shared } from "../../test/shared.ts";
import { CheckpointError, ConfigError } from "../errors/index.ts";
import { Random } from "../random/index.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

interface Vector {
  readonly text: string;
  readonly ids: number[];
  readonly whole?: number[];
  readonly decoded?: string;
}

const fixture = (name: string) => join(fixtures, "tokenizers", name);
const readVectors = (path: string): Vector[] => JSON.parse(readFileSync(path, "utf8"));

const root = mkdtempSync(join(tmpdir(), "graft-tokenizer-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;

/** A folder with some files of a fixture, and others as given. */
function folderWith(name: string, files: readonly string[], own: Readonly<Record<string, unknown>> = {}): string {
  const folder = join(root, String(count++));
  mkdirSync(folder);
  for (const file of files) copyFileSync(join(fixture(name), file), join(folder, file));
  for (const [file, content] of Object.entries(own)) {
    writeFileSync(join(folder, file), typeof content === "string" ? content : JSON.stringify(content));
  }
  return folder;
}

function streamed(tokenizer: Tokenizer, ids: readonly number[], skipSpecialTokens: boolean): string {
  const stream = tokenizer.streamDecoder({ skipSpecialTokens });
  return ids.map((id) => stream.push(id)).join("") + stream.flush();
}

describe.each(["byte-level", "characters", "word-piece"])("%s", (name) => {
  const tokenizer = loadTokenizer(fixture(name));
  const vectors = readVectors(join(fixture(name), "vectors.json"));

  test("ids and text are those of the Rust implementation", () => {
    for (const { text, ids, whole, decoded } of vectors) {
      expect({ text, ids: tokenizer.encode(text, { addSpecialTokens: false }) }).toEqual({ text, ids });
      expect({ text, ids: tokenizer.encode(text, { addSpecialTokens: true }) }).toEqual({ text, ids: whole ?? ids });
      expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(decoded!);
    }
  });

  test("what is streamed adds up to what is decoded", () => {
    for (const { ids } of vectors)
      expect(streamed(tokenizer, ids, false)).toBe(tokenizer.decode(ids, { skipSpecialTokens: false }));
  });
});

test("a tokenizer.json of LLaMA's kind without its model gives the ids and text of the Rust implementation", () => {
  const tokenizer = loadTokenizer(folderWith("llama", ["tokenizer.json", "tokenizer_config.json"]));
  for (const { text, ids, whole, decoded } of readVectors(join(fixture("llama"), "vectors-json.json"))) {
    expect({ text, ids: tokenizer.encode(text, { addSpecialTokens: false }) }).toEqual({ text, ids });
    expect({ text, ids: tokenizer.encode(text, { addSpecialTokens: true }) }).toEqual({ text, ids: whole! });
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(decoded!);
    expect(streamed(tokenizer, ids, false)).toBe(decoded!);
  }
});

test.each([
  ["llama", ["tokenizer.model"]],
  ["llama", ["tokenizer.model", "tokenizer.json", "tokenizer_config.json"]],
  ["sp-unigram", ["tokenizer.model"]],
  ["sp-bpe-suffix", ["tokenizer.model"]],
])("%s from %j gives the ids of the C++ SentencePiece", (name, files) => {
  const tokenizer = loadTokenizer(folderWith(name, files));
  expect(tokenizer.specialsInText).toBe("text");
  for (const { text, ids } of readVectors(join(fixture(name), "vectors.json"))) {
    const got = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
    expect({ text, ids: got }).toEqual({ text, ids });
    expect(streamed(tokenizer, ids, false)).toBe(tokenizer.decode(ids, { skipSpecialTokens: false }));
  }
});

test("a model beside a json of another vocabulary is not its source", () => {
  const other = folderWith("byte-level", ["tokenizer.json"]);
  copyFileSync(join(fixture("llama"), "tokenizer.model"), join(other, "tokenizer.model"));
  expect(loadTokenizer(other).encode("a  b", { addSpecialTokens: false })).toEqual(
    loadTokenizer(fixture("byte-level")).encode("a  b", { addSpecialTokens: false }),
  );
  const notSentencePiece = folderWith("byte-level", ["tokenizer.json"], { "tokenizer.model": "IQ== 0\nIg== 1\n" });
  expect(loadTokenizer(notSentencePiece).vocabSize).toBe(421);
});

test("special tokens come from the config, then from the map, then from generation_config, and null means none", () => {
  const llama = loadTokenizer(fixture("llama"));
  expect([llama.bosId, llama.eosId, llama.padId, llama.unkId]).toEqual([1, 2, undefined, 0]);
  expect(llama.chatTemplate).toContain("add_generation_prompt");
  const map = loadTokenizer(fixture("byte-level"));
  expect([map.bosId, map.eosId, map.padId]).toEqual([0, 0, undefined]);
  expect([map.isSpecial(0), map.isSpecial(5), map.tokenOf(0), map.idOf("<|end|>")]).toEqual([
    true,
    false,
    "<|end|>",
    0,
  ]);
  const generation = { bos_token_id: 4, eos_token_id: [3, 5], pad_token_id: 1_000_000 };
  const only = loadTokenizer(folderWith("characters", ["tokenizer.json"], { "generation_config.json": generation }));
  expect([only.bosId, only.eosId, only.padId, only.unkId]).toEqual([4, 3, undefined, undefined]);
  const none = { bos_token: null };
  const without = loadTokenizer(
    folderWith("characters", ["tokenizer.json"], {
      "generation_config.json": generation,
      "tokenizer_config.json": none,
    }),
  );
  expect([without.bosId, without.eosId]).toEqual([undefined, 3]);
});

test("the LLaMA family's switches decide what stands around a text", () => {
  const config = {
    tokenizer_class: "LlamaTokenizer",
    bos_token: "<s>",
    eos_token: "</s>",
    add_bos_token: false,
    add_eos_token: true,
  };
  for (const files of [["tokenizer.json"], ["tokenizer.model"]]) {
    const tokenizer = loadTokenizer(folderWith("llama", files, { "tokenizer_config.json": config }));
    const plain = tokenizer.encode("Ada", { addSpecialTokens: false });
    expect(tokenizer.encode("Ada", { addSpecialTokens: true })).toEqual([...plain, 2]);
    expect(tokenizer.encode("", { addSpecialTokens: true })).toEqual([2]);
  }
});

test("the text of a special token is the token, or text where asked", () => {
  const bytes = loadTokenizer(fixture("byte-level"));
  expect(bytes.encode("a<|end|>b", { addSpecialTokens: false })).toContain(0);
  const plain = bytes.encode("a<|end|>b", { addSpecialTokens: false, parseSpecial: false });
  expect(plain).not.toContain(0);
  expect(bytes.decode(plain)).toBe("a<|end|>b");
  expect(bytes.encode("<|user|>", { addSpecialTokens: false, parseSpecial: false })).toEqual([420]); // added, not special
  const llama = loadTokenizer(fixture("llama"));
  expect(llama.encode("<s>Ada</s>", { addSpecialTokens: false })).toEqual([
    1,
    ...llama.encode("Ada", { addSpecialTokens: false }),
    2,
  ]);
  expect(llama.decode([1, 2], { skipSpecialTokens: false })).toBe("<s></s>");
  expect(llama.decode([1, 2])).toBe("");
});

test("OpenAI's GPT-2 class knows no added tokens in text", () => {
  const config = { tokenizer_class: "GPT2Tokenizer", eos_token: "<|end|>" };
  const tokenizer = loadTokenizer(folderWith("byte-level", ["tokenizer.json"], { "tokenizer_config.json": config }));
  expect(tokenizer.specialsInText).toBe("text");
  const ids = tokenizer.encode("<|user|><|end|>", { addSpecialTokens: false, parseSpecial: false });
  expect(ids.some((id) => id === 0 || id === 420)).toBe(false);
  expect(tokenizer.encode("<|user|><|end|>", { addSpecialTokens: false })).toEqual([420, 0]);
});

test("tokens that only a config or added_tokens.json names are tokens too", () => {
  const more = {
    added_tokens_decoder: { "460": { content: "<pad>", special: true, rstrip: true } },
    pad_token: "<pad>",
  };
  for (const files of [["tokenizer.json"], ["tokenizer.model"]]) {
    const tokenizer = loadTokenizer(folderWith("llama", files, { "tokenizer_config.json": more }));
    expect([tokenizer.padId, tokenizer.vocabSize]).toEqual([460, 461]);
    const ids = tokenizer.encode("Ada<pad>  Ben", { addSpecialTokens: false });
    expect(ids).toContain(460);
    expect(tokenizer.decode(ids)).toBe("Ada Ben");
  }
  const old = loadTokenizer(folderWith("llama", ["tokenizer.model"], { "added_tokens.json": { "<mine>": 460 } }));
  expect(old.encode("<mine>", { addSpecialTokens: false })).toEqual([460]);
});

test("legacy false puts no blank before text that follows a token", () => {
  const files = ["tokenizer.model"];
  const legacy = loadTokenizer(folderWith("llama", files));
  const modern = loadTokenizer(folderWith("llama", files, { "tokenizer_config.json": { legacy: false } }));
  const [before, after] = [legacy, modern].map((t) => t.encode("</s>x", { addSpecialTokens: false }));
  expect(legacy.tokenOf(before![1]!)).toStartWith("\u2581");
  expect(modern.tokenOf(after![1]!)).toBe("x");
});

test("text that goes on keeps the blank of its first word", () => {
  const llama = loadTokenizer(fixture("llama"));
  const ids = llama.encode("Ada has", { addSpecialTokens: false });
  expect(llama.decode(ids)).toBe("Ada has");
  expect(llama.decode(ids, { isContinuation: true })).toBe(" Ada has");
  const stream = llama.streamDecoder({ isContinuation: true });
  expect(ids.map((id) => stream.push(id)).join("")).toBe(" Ada has");
});

test("a stream gives no half character, and U+FFFD only for bytes that never become one", () => {
  for (const name of ["byte-level", "llama"]) {
    const tokenizer = loadTokenizer(fixture(name));
    const text = "龘🦄Ж x";
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    const stream = tokenizer.streamDecoder();
    const parts = ids.map((id) => stream.push(id));
    expect(parts.length).toBeGreaterThan(8);
    expect(parts.join("") + stream.flush()).toBe(text);
    expect(parts.some((part) => part.includes("\uFFFD"))).toBe(false);
    const cut = tokenizer.streamDecoder();
    const whole = ids
      .slice(0, ids.length - 3)
      .map((id) => cut.push(id))
      .join("");
    expect(text).toStartWith(whole);
    const first = tokenizer.streamDecoder();
    const bytes = tokenizer.encode("🦄", { addSpecialTokens: false }).slice(0, -1);
    expect(
      bytes
        .map((id) => first.push(id))
        .join("")
        .trim(),
    ).toBe("");
    expect(first.flush()).toBe("\uFFFD");
  }
});

test("ids outside the vocabulary are left out", () => {
  for (const name of ["byte-level", "llama", "characters", "word-piece"]) {
    const tokenizer = loadTokenizer(fixture(name));
    expect(tokenizer.decode([tokenizer.vocabSize, 1_000_000])).toBe("");
    expect(tokenizer.streamDecoder().push(1_000_000)).toBe("");
    expect(tokenizer.tokenOf(1_000_000)).toBeUndefined();
    expect(tokenizer.bytesOf(1_000_000)).toBeUndefined();
  }
});

test("the bytes of the tokens of a text are the bytes of the text", () => {
  const text = "don't 世界 🙂";
  for (const name of ["byte-level", "llama"]) {
    const tokenizer = loadTokenizer(fixture(name));
    const bytes = tokenizer.encode(text, { addSpecialTokens: false }).flatMap((id) => [...tokenizer.bytesOf(id)!]);
    expect(new TextDecoder().decode(Uint8Array.from(bytes)).trimStart()).toBe(text);
  }
  expect(loadTokenizer(fixture("word-piece")).bytesOf(10)).toBeInstanceOf(Uint8Array);
});

test("decode undoes encode, and streams add up, for random text", () => {
  const seed = 99;
  const random = new Random(seed);
  const byteLevel = loadTokenizer(fixture("byte-level"));
  // The model itself removes blanks; its json does not.
  const llama = loadTokenizer(folderWith("llama", ["tokenizer.json", "tokenizer_config.json"]));
  for (let round = 0; round < 1_000; round++) {
    const codes = Array.from({ length: random.int(20) }, () => {
      const kind = random.int(4);
      return kind === 0
        ? random.int(0x80)
        : kind === 1
          ? 0x80 + random.int(0x700)
          : kind === 2
            ? 0x4e00 + random.int(0x5000)
            : 0x1f300 + random.int(0x300);
    });
    const text = String.fromCodePoint(...codes);
    for (const tokenizer of [byteLevel, llama]) {
      const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
      const back = tokenizer.decode(ids);
      const sum = streamed(tokenizer, ids, true);
      if (back !== text.replaceAll("\u2581", back.includes("\u2581") ? "\u2581" : " ") || sum !== back) {
        throw new Error(
          `seed ${seed}, round ${round}: ${JSON.stringify(text)} became ${JSON.stringify(back)}, streamed ${JSON.stringify(sum)}`,
        );
      }
    }
  }
});

test("streams of random ids add up to what is decoded", () => {
  const seed = 100;
  const random = new Random(seed);
  for (const name of ["byte-level", "llama", "sp-unigram", "sp-bpe-suffix", "characters", "word-piece"]) {
    const tokenizer = loadTokenizer(fixture(name));
    for (let round = 0; round < 500; round++) {
      const ids = Array.from({ length: random.int(30) }, () => random.int(tokenizer.vocabSize + 2));
      for (const skip of [true, false]) {
        if (streamed(tokenizer, ids, skip) !== tokenizer.decode(ids, { skipSpecialTokens: skip })) {
          throw new Error(`seed ${seed}, ${name}, round ${round}: ${ids}`);
        }
      }
    }
  }
});

test("a folder without tokenizer, and files that do not fit, are named", () => {
  const attempt = (files: Record<string, unknown>) => () => loadTokenizer(folderWith("llama", [], files));
  expect(attempt({})).toThrow(CheckpointError);
  expect(attempt({})).toThrow("has neither tokenizer.json nor tokenizer.model");
  expect(attempt({ "tokenizer.json": "{" })).toThrow(/tokenizer\.json: is not valid JSON/);
  expect(attempt({ "tokenizer.json": [] })).toThrow(ConfigError);
  expect(attempt({ "tokenizer.json": { model: {} } })).toThrow(/tokenizer\.json: model\.vocab: /);
  const vocab = { model: { type: "WordLevel", vocab: { a: 0 } } };
  expect(attempt({ "tokenizer.json": vocab, "tokenizer_config.json": { bos_token: 3 } })).toThrow(
    /tokenizer_config\.json: bos_token/,
  );
  const far = { model: { type: "WordLevel", vocab: { a: 2 ** 32 - 2 } } };
  expect(attempt({ "tokenizer.json": far })).toThrow(
    'tokenizer.json: token "a" has the id 4294967294, expected an integer',
  );
  expect(attempt({ "tokenizer.model": "hello" })).toThrow(/tokenizer\.model: is no SentencePiece model/);
  const noUnknown = loadTokenizer(folderWith("llama", [], { "tokenizer.json": vocab }));
  expect(() => noUnknown.encode("b", { addSpecialTokens: false })).toThrow(/has no token for "b" and no unknown token/);
});

// The reference data: vectors where all implementations agree, and where they do not, the original one.
interface SharedVector extends Vector {
  readonly ids_with_special: number[];
  readonly agree: boolean;
  readonly by_implementation?: Readonly<Record<string, number[] | null>>;
}

const sharedNames = ["bloom-pretok", "gpt2", "gptj", "openllama-zh-en", "tok512"];

test.skipIf(!shared).each(sharedNames)("every reference vector of %s holds", (name) => {
  const folder = join(shared!, "tokenizers", name);
  const tokenizer = loadTokenizer(folder);
  const { vectors }: { vectors: SharedVector[] } = JSON.parse(readFileSync(join(folder, "vectors.json"), "utf8"));
  expect(vectors).toHaveLength(212);
  for (const { text, ids, ids_with_special: whole, agree, by_implementation: by, decoded } of vectors) {
    const want = agree ? ids : (by?.reference ?? ids);
    const options = { parseSpecial: tokenizer.specialsInText === "tokens" };
    const got = tokenizer.encode(text, { addSpecialTokens: false, ...options });
    expect({ text, ids: got }).toEqual({ text, ids: want });
    if (agree) expect(tokenizer.encode(text, { addSpecialTokens: true })).toEqual(whole);
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(decoded!);
    expect(streamed(tokenizer, ids, false)).toBe(decoded!);
  }
});

test.skipIf(!shared)("tok512 gives the reference ids from tokenizer.model alone", () => {
  const folder = join(root, "tok512");
  mkdirSync(folder);
  copyFileSync(join(shared!, "tokenizers/tok512/tokenizer.model"), join(folder, "tokenizer.model"));
  const tokenizer = loadTokenizer(folder);
  const { vectors }: { vectors: SharedVector[] } = JSON.parse(
    readFileSync(join(shared!, "tokenizers/tok512/vectors.json"), "utf8"),
  );
  for (const { text, ids, agree, by_implementation: by } of vectors) {
    const want = agree ? ids : (by?.reference ?? ids);
    expect({ text, ids: tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false }) }).toEqual({
      text,
      ids: want,
    });
  }
  expect(tokenizer.encode("Once upon a time", { addSpecialTokens: true })).toEqual([1, 403, 407, 261, 378]);
});

test("2,000 damaged tokenizer.json: a typed error or a tokenizer, never anything else", () => {
  const seed = 46;
  const random = new Random(seed);
  const values = [
    null,
    0,
    -1,
    1e99,
    "",
    "x",
    "[",
    [],
    [[]],
    {},
    { type: "Sequence" },
    { Regex: "(" },
    { String: "" },
    true,
  ];
  const originals = ["llama", "byte-level", "characters", "word-piece"].map((name) =>
    readFileSync(join(fixture(name), "tokenizer.json"), "utf8"),
  );
  const folder = folderWith("llama", []);
  const said = console.warn;
  console.warn = () => undefined; // the library prints what it does not know
  let accepted = 0;
  try {
    for (let round = 0; round < 2_000; round++) {
      const file: unknown = JSON.parse(originals[round % originals.length]!);
      damage(file, values, random);
      writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(file));
      try {
        const tokenizer = loadTokenizer(folder);
        for (const text of ["", "Ada has  12", "世🙂<s>"])
          tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: true }));
        accepted++;
      } catch (error) {
        if (!(error instanceof ConfigError))
          throw new Error(`seed ${seed}, round ${round}: ${error}`, { cause: error });
      }
    }
  } finally {
    console.warn = said;
  }
  expect(accepted).toBeGreaterThan(100);
  expect(accepted).toBeLessThan(1_900);
});

/** Replaces or removes a random entry, not deep inside the vocabulary most of the time. */
function damage(value: unknown, values: readonly unknown[], random: Random): void {
  let at = value as Record<string, unknown>; // an object or array: checked on the way down
  for (let depth = 0; ; depth++) {
    const keys = Object.keys(at);
    const key = keys[random.int(keys.length)]!;
    const next = at[key];
    if (
      typeof next === "object" &&
      next !== null &&
      Object.keys(next).length > 0 &&
      (depth === 0 ? random.int(5) > 0 : random.int(2) > 0)
    ) {
      at = next as Record<string, unknown>;
      continue;
    }
    if (random.int(4) === 0) delete at[key];
    else at[key] = values[random.int(values.length)];
    return;
  }
}
