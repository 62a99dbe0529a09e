import { expect, test } from "bun:test";
import { ConfigError } from "../src/errors/index.ts";
import { llama } from "../src/models/llama.ts";
import { inverseFrequencies, ropeParameters } from "../src/nn/index.ts";
import { tinyConfig } from "./tiny-model.ts";

const plain = (dim: number, theta = 10_000) =>
  Float64Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
const of = (config: object) => ropeParameters({ max_position_embeddings: 64, ...config }, "config.json");

test("both spellings of transformers' configs read alike", () => {
  expect(of({ rope_theta: 500_000, rope_scaling: null })).toEqual({ type: "default", theta: 500_000 });
  expect(of({ rope_parameters: { rope_type: "default", rope_theta: 500_000 } })).toEqual({
    type: "default",
    theta: 500_000,
  });
  expect(of({ rope_theta: 1e4, rope_scaling: { type: "linear", factor: 4 } })).toEqual({
    type: "linear",
    theta: 1e4,
    factor: 4,
  });
  expect(() => of({ rope_scaling: { rope_type: "yarn", factor: 4 } })).toThrow(ConfigError);
  expect(() => of({ rope_scaling: { type: "linear" } })).toThrow('rope scaling "linear" needs factor');
});

test("linear scaling stretches every angle by the factor", () => {
  const scaled = inverseFrequencies(of({ rope_scaling: { type: "linear", factor: 4 } }), 16, 64);
  for (const [i, f] of plain(16).entries()) expect(scaled[i]!).toBeCloseTo(f / 4, 15);
});

test("linear scaling makes room for longer sequences, dynamic scaling does not", () => {
  const maxLength = (rope_scaling: object) => llama.parseConfig({ ...tinyConfig, rope_scaling }, "c").maxLength;
  expect(maxLength({ type: "linear", factor: 2.5 })).toBe(320);
  expect(maxLength({ type: "dynamic", factor: 2 })).toBe(128);
});

test("dynamic scaling starts from max_position_embeddings, as transformers' does", () => {
  const scaling = { rope_type: "dynamic", factor: 2, original_max_position_embeddings: 32 };
  for (const config of [{ rope_scaling: scaling }, { rope_parameters: { ...scaling, rope_theta: 10_000 } }])
    for (const [i, f] of inverseFrequencies(of(config), 16, 64).entries()) expect(f).toBeCloseTo(plain(16)[i]!, 14);
});

test("dynamic scaling leaves short sequences alone and raises theta beyond", () => {
  const rope = of({ rope_scaling: { type: "dynamic", factor: 2 } });
  for (const [i, f] of inverseFrequencies(rope, 16, 64).entries()) expect(f).toBeCloseTo(plain(16)[i]!, 14);
  // theta (factor length / original - (factor - 1)) ^ (dim / (dim - 2)) = 10000 * 3 ^ (16 / 14) at twice the length.
  const theta = 10_000 * 3 ** (16 / 14);
  for (const [i, f] of inverseFrequencies(rope, 16, 128).entries()) expect(f).toBeCloseTo(plain(16, theta)[i]!, 12);
});

test("llama3 scaling keeps high frequencies, divides low ones, and joins them smoothly", () => {
  const rope = of({
    rope_theta: 500_000,
    rope_scaling: {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
  });
  const scaled = inverseFrequencies(rope, 128, 131_072);
  const base = plain(128, 500_000);
  let between = 0;
  for (const [i, f] of base.entries()) {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength < 8192 / 4) expect(scaled[i]!).toBeCloseTo(f, 14);
    else if (wavelength > 8192) expect(scaled[i]!).toBeCloseTo(f / 8, 14);
    else {
      between++;
      expect(scaled[i]!).toBeGreaterThan(f / 8);
      expect(scaled[i]!).toBeLessThan(f);
    }
    if (i > 0) expect(scaled[i]!).toBeLessThan(scaled[i - 1]!);
  }
  expect(between).toBeGreaterThan(0);
});

test("a config that cannot be is refused with the field's name", () => {
  const parse = (changes: object) => () => llama.parseConfig({ ...tinyConfig, ...changes }, "config.json");
  expect(parse({ num_key_value_heads: 3 })).toThrow("num_attention_heads 4 is no multiple of num_key_value_heads 3");
  expect(parse({ hidden_size: "big" })).toThrow("config.json: hidden_size");
  expect(parse({ num_attention_heads: 5, num_key_value_heads: 5 })).toThrow("there is no head_dim");
  expect(parse({ rope_parameters: { rope_type: "default", partial_rotary_factor: 0.5 } })).toThrow(
    "config.json: partial_rotary_factor is 0.5; a llama rotates all of each head",
  );
  expect(parse({ hidden_act: "swish2" })).toThrow("hidden_act");
});
