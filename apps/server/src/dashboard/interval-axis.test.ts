import { expect, test } from "bun:test";
import { axisOf, positionOn } from "./interval-axis.ts";

test("the axis holds every interval", () => {
  const rows = [
    { value: 0.5, interval: [0.4, 0.6] as const },
    { value: 0.98, interval: [0.95, 1] as const },
    { value: null, interval: [null, null] as const },
  ];
  const axis = axisOf(rows)!;
  expect(axis.low).toBeCloseTo(0.37);
  expect(axis.high).toBe(1);
  expect(positionOn(axis, axis.low)).toBe(0);
  expect(positionOn(axis, axis.high)).toBe(100);
  expect(positionOn(axis, 7)).toBe(100);
});

test("one figure alone has an axis around it, and no figure has none", () => {
  for (const value of [0, 1, -3, 250]) {
    const axis = axisOf([{ value, interval: [null, null] }])!;
    expect(axis.high).toBeGreaterThan(axis.low);
    expect(value).toBeGreaterThanOrEqual(axis.low);
    expect(value).toBeLessThanOrEqual(axis.high);
  }
  expect(axisOf([])).toBeUndefined();
  expect(axisOf([{ value: null, interval: [null, null] }])).toBeUndefined();
});
