import { expect, test } from "bun:test";
import { equalFixed } from "./equal.ts";

test("numbers are equal within 0.001, scaled below 1 and beyond 1000", () => {
  for (const [a, b, want] of [
    ["18", "18.0", true],
    ["18.0009", "18", true],
    ["18.0011", "18", false],
    ["18", "-18", false],
    ["0", "0.0", true],
    ["-0", "0", true],
    ["0", "0.0005", false],
    ["0.0005", "0.0005", true],
    ["0.6667", "0.6666666666666666", true],
    ["0.67", "0.6666666666666666", false],
    ["0.5", "50", false],
    ["33.333", "33.333333333333336", true],
    ["1000000", "1000001", true],
    ["1000000", "1000002", false],
    ["22090603", "22090603.0", true],
    ["1e3", "1000", true],
    ["", "0", false],
    ["0", " ", false],
    ["", "", false],
    ["x", "x", false],
    ["Infinity", "Infinity", false],
  ] as const) {
    expect([a, b, equalFixed(a, b)]).toEqual([a, b, want]);
    expect(equalFixed(b, a)).toBe(want);
  }
});
