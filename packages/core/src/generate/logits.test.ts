import { expect, test } from "bun:test";
import { Random } from "../random/index.ts";
import { applyProcessors, drawFor, processorsFor } from "./logits.ts";
import type { GenerateOptions } from "./language-model.ts";

function scored(
  options: Omit<GenerateOptions, "maxNewTokens">,
  ids: readonly number[],
  promptLength: number,
): number[] {
  const scores = Float64Array.of(1, 2, -3, 4);
  applyProcessors(processorsFor({ maxNewTokens: 1, ...options }, promptLength), scores, ids);
  return [...scores];
}

test("frequency and presence penalties count the generated tokens alone", () => {
  // Token 3 twice and token 0 once behind the prompt [0, 2].
  const ids = [0, 2, 3, 0, 3];
  expect(scored({ frequencyPenalty: 0.5 }, ids, 2)).toEqual([0.5, 2, -3, 3]);
  expect(scored({ presencePenalty: 0.25 }, ids, 2)).toEqual([0.75, 2, -3, 3.75]);
  expect(scored({ frequencyPenalty: 0.5, presencePenalty: 0.25 }, ids, 2)).toEqual([0.25, 2, -3, 2.75]);
  expect(scored({ frequencyPenalty: -2, presencePenalty: -1 }, ids, 2)).toEqual([4, 2, -3, 9]);
  expect(scored({ frequencyPenalty: 2 }, ids, 5)).toEqual([1, 2, -3, 4]);
});

test("virtual tokens before the prompt change no count", () => {
  const options = { frequencyPenalty: 0.5, presencePenalty: 0.25 };
  expect(scored(options, [-1, -2, 0, 2, 3, 0, 3], 2)).toEqual(scored(options, [0, 2, 3, 0, 3], 2));
});

test("a bias is added to its ids, before the penalties and the temperature", () => {
  expect(scored({ logitBias: { 1: 5, 2: -100, 99: 1 } }, [], 0)).toEqual([1, 7, -103, 4]);
  // (2 - 4) is negative, so the repetition penalty multiplies; -4 less 1 for its count; over the temperature 2.
  const options = { logitBias: { 1: -4 }, repetitionPenalty: 2, frequencyPenalty: 1, temperature: 2 };
  expect(scored(options, [1], 0)).toEqual([0.5, -2.5, -1.5, 2]);
});

test("the device does not draw where a bias or a penalty is asked for", () => {
  const draw = (options: Omit<GenerateOptions, "maxNewTokens">) =>
    drawFor({ maxNewTokens: 1, ...options }, new Random(0));
  expect(draw({ frequencyPenalty: 0, presencePenalty: 0, logitBias: {} })).toBeDefined();
  expect(draw({ frequencyPenalty: 0.1 })).toBeUndefined();
  expect(draw({ presencePenalty: -0.1, temperature: 1 })).toBeUndefined();
  expect(draw({ logitBias: { 3: 0.5 } })).toBeUndefined();
});
