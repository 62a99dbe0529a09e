import { expect, test } from "bun:test";
import {
  formatAge,
  formatBytes,
  formatCount,
  formatDuration,
  formatFigure,
  formatHash,
  formatInterval,
  formatRate,
  formatTime,
} from "./format.ts";

test("what is not known is a dash", () => {
  for (const format of [formatBytes, formatCount, formatDuration, formatFigure, formatRate, formatTime])
    for (const x of [null, undefined, Number.NaN, Number.POSITIVE_INFINITY]) expect(format(x)).toBe("–");
  expect(formatInterval([0.1, null])).toBe("–");
  expect(formatAge(null, 0)).toBe("–");
});

test("sizes are in powers of 1024", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.0 KiB"],
    [1536, "1.5 KiB"],
    [200 * 2 ** 20, "200 MiB"],
    [1.25 * 2 ** 30, "1.3 GiB"],
    [5000 * 2 ** 40, "5000 TiB"],
  ];
  for (const [bytes, text] of cases) expect(formatBytes(bytes)).toBe(text);
});

test("counts, rates and figures", () => {
  expect(formatCount(1234567)).toBe("1,234,567");
  expect([0, 9.94, 123.6, 12345].map(formatRate)).toEqual(["0.0", "9.9", "124", "12,345"]);
  expect([0, 0.73456, 12.3456, 2e-5, 1e7, -0.5].map(formatFigure)).toEqual([
    "0",
    "0.7346",
    "12.35",
    "2.00e-5",
    "1.00e+7",
    "-0.5",
  ]);
  expect(formatInterval([0.71, 0.75])).toBe("0.71 to 0.75");
  expect(formatHash("0123456789abcdef")).toBe("0123456789ab");
});

test("durations and ages", () => {
  expect([0, 59.4, 200, 3660, 90_000, -3].map(formatDuration)).toEqual([
    "0 s",
    "59 s",
    "3 min 20 s",
    "1 h 1 min",
    "1 d 1 h",
    "0 s",
  ]);
  expect(formatAge(100, 102_000)).toBe("just now");
  expect(formatAge(100, 300_000)).toBe("3 min ago");
  expect(formatAge(200, 100_000)).toBe("just now");
});
