import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fixtures } from "../../test/shared.ts";
import { ConfigError } from "../errors/index.ts";
import { Random } from "../random/index.ts";
import { loadSentencePiece } from "./sentencepiece.ts";

const names = ["llama", "sp-unigram", "sp-bpe-suffix"];
const read = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(join(fixtures, "tokenizers", name, "tokenizer.model")));
const load = (name: string) => loadSentencePiece(name, read(name));

test("a model says of what kind it is", () => {
  const unigram = load("sp-unigram").model;
  expect([unigram.kind, unigram.removeExtraWhitespaces, unigram.charsMap.length > 0]).toEqual(["unigram", true, true]);
  expect(unigram.pieces.filter((piece) => piece.type === "user").map((piece) => piece.text)).toEqual([
    "<tag>",
    "</tag>",
    "the",
  ]);
  const suffix = load("sp-bpe-suffix").model;
  expect([suffix.kind, suffix.whitespaceAsSuffix, suffix.bosId, suffix.eosId, suffix.padId]).toEqual([
    "bpe",
    true,
    -1,
    2,
    3,
  ]);
  expect(load("llama").model.byteFallback).toBe(true);
});

test("a text of 200,000 characters is cut in time that grows with its length", () => {
  const text = "Ada has 12 apples. ".repeat(10_500);
  for (const name of names) {
    const began = performance.now();
    expect(load(name).encode(text).length).toBeGreaterThan(10_000);
    expect(performance.now() - began).toBeLessThan(20_000); // a quadratic cut takes minutes
  }
});

test("files that are no model, or of a kind that is not supported, are refused by name", () => {
  const attempt = (bytes: Uint8Array) => () => loadSentencePiece("m/tokenizer.model", bytes);
  expect(attempt(new Uint8Array(0))).toThrow(
    new ConfigError("m/tokenizer.model: is no SentencePiece model: it has no pieces"),
  );
  expect(attempt(new TextEncoder().encode("IQ== 0\nIg== 1\n"))).toThrow("m/tokenizer.model: is no SentencePiece model");
  expect(attempt(read("llama").slice(0, 5_000))).toThrow("m/tokenizer.model: is no SentencePiece model");
  // Trainer section: field 2, five bytes: field 3 (model type) = 3, word.
  const word = Uint8Array.of(...read("sp-bpe-suffix"), 0x12, 2, 0x18, 3);
  expect(attempt(word)).toThrow("m/tokenizer.model: model type 3 is not supported; unigram (1) and BPE (2) are");
  // Normaliser section: field 3: field 2 (table) of four bytes that say it has more.
  const table = Uint8Array.of(...read("sp-bpe-suffix"), 0x1a, 6, 0x12, 4, 8, 0, 0, 0);
  expect(attempt(table)).toThrow("m/tokenizer.model: its table of character replacements is damaged");
});

test("4,000 damaged models: a typed error or a model that cuts every text, never anything else", () => {
  const seed = 45;
  const random = new Random(seed);
  const texts = ["", "Ada has 12 apples.", "  ﬁne ½ cafe\u0301 🙂 <tag>x</tag> the \u200b", "\ud800 lone"];
  const originals = names.map(read);
  let accepted = 0;
  for (let round = 0; round < 4_000; round++) {
    const damaged = originals[round % originals.length]!.slice(0, random.int(6) === 0 ? random.int(3_000) : undefined);
    // Most of a model is pieces; its switches and table are at the end.
    const from = random.int(2) ? 0 : Math.max(0, damaged.length - 400);
    for (let flips = random.int(6); flips >= 0 && damaged.length > 0; flips--) {
      damaged[from + random.int(damaged.length - from)] = random.int(256);
    }
    try {
      const piece = loadSentencePiece("fuzz", damaged);
      for (const text of texts) {
        for (const id of piece.encode(text)) {
          if (!piece.model.pieces[id]) throw new Error(`id ${id} of ${piece.model.pieces.length}`);
        }
      }
      accepted++;
    } catch (error) {
      if (!(error instanceof ConfigError) || !error.message.startsWith("fuzz: ")) {
        throw new Error(`seed ${seed}, round ${round}: ${error}`, { cause: error });
      }
    }
  }
  expect(accepted).toBeGreaterThan(200);
  expect(accepted).toBeLessThan(3_500);
});
