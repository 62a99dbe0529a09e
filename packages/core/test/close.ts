import { expect } from "bun:test";

/** Fails unless |got - want| <= atol + rtol * |want| everywhere; says how many differ and shows the worst place. */
export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  { atol, rtol }: { readonly atol: number; readonly rtol: number },
  what: string,
): void {
  expect(got.length).toBe(want.length);
  let bad = 0;
  let worst = { over: -1, index: -1 };
  for (let i = 0; i < want.length; i++) {
    const g = got[i]!;
    const w = want[i]!;
    if (g === w || (Number.isNaN(g) && Number.isNaN(w))) continue;
    const over = Math.abs(g - w) - (atol + rtol * Math.abs(w));
    if (over <= 0) continue;
    bad++;
    if (!(over <= worst.over)) worst = { over, index: i };
  }
  if (bad > 0) {
    const i = worst.index;
    throw new Error(
      `${what}: ${bad} of ${want.length} differ; worst at ${i}: got ${got[i]}, want ${want[i]}, allowed ${atol} + ${rtol} * |want|`,
    );
  }
}
