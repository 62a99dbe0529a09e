/** How parameters start: fresh values from a seeded generator. */
import type { AdapterParameter } from "@graft/core/nn";
import type { Random } from "@graft/core/random";

export type Start = (count: number, random: Random) => Float32Array;

/** A parameter with its fresh values. */
export interface StartingParameter extends AdapterParameter {
  readonly start: Start;
}

const each =
  (draw: (random: Random) => number): Start =>
  (count, random) =>
    Float32Array.from({ length: count }, () => draw(random));

export const zeros: Start = (count) => new Float32Array(count);
export const ones: Start = (count) => new Float32Array(count).fill(1);
export const normal = (std: number): Start => each((random) => std * random.normal());
/** Within [-bound, bound). */
export const uniform = (bound: number): Start => each((random) => bound * (2 * random.uniform() - 1));
/** What a linear layer of torch starts with: Kaiming uniform with a = sqrt(5), bound 1 / sqrt(fan in). */
export const kaiming = (fanIn: number): Start => uniform(1 / Math.sqrt(fanIn));

/** Normal, drawn again where it is over two deviations away. */
export const truncatedNormal = (std: number): Start =>
  each((random) => {
    for (;;) {
      const x = random.normal();
      if (Math.abs(x) <= 2) return std * x;
    }
  });
