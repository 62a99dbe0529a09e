/** The axis of an interval plot. */

export interface Axis {
  readonly low: number;
  readonly high: number;
}

interface Ranged {
  readonly value: number | null;
  readonly interval: readonly [number | null, number | null];
}

/** Holds every value and interval with a margin of 5 %; not beyond 0 and 1 where all figures are shares. Undefined without figures. */
export function axisOf(rows: readonly Ranged[]): Axis | undefined {
  const numbers = rows.flatMap(({ value, interval }) => [value, ...interval]).filter((x) => x !== null);
  if (numbers.length === 0) return undefined;
  const least = Math.min(...numbers);
  const most = Math.max(...numbers);
  const margin = (most - least) * 0.05 || Math.abs(most) * 0.05 || 1;
  const isShare = least >= 0 && most <= 1;
  return {
    low: isShare ? Math.max(0, least - margin) : least - margin,
    high: isShare ? Math.min(1, most + margin) : most + margin,
  };
}

/** In per cent of the axis, 0 to 100. */
export function positionOn({ low, high }: Axis, x: number): number {
  return Math.min(100, Math.max(0, (100 * (x - low)) / (high - low)));
}
