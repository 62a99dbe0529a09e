/** Fresh values of parameters. */
import { sizeOf } from "@graft/core/graph";
import type { Random } from "@graft/core/random";

/** A parameter's shape and how it begins. */
export interface Start {
  readonly shape: readonly number[];
  readonly init: (random: Random) => Float32Array;
}

export function constant(value: number, shape: readonly number[]): Start {
  return { shape, init: () => new Float32Array(sizeOf(shape)).fill(value) };
}

/** Normal with the given deviation, around `mean`. */
export function normal(std: number, shape: readonly number[], mean = 0): Start {
  return {
    shape,
    init: (random) => Float32Array.from({ length: sizeOf(shape) }, () => mean + std * random.normal()),
  };
}

/** Normal, drawn again where it is over two deviations away. */
export function truncatedNormal(std: number, shape: readonly number[]): Start {
  const draw = (random: Random): number => {
    for (;;) {
      const x = random.normal();
      if (Math.abs(x) <= 2) return std * x;
    }
  };
  return { shape, init: (random) => Float32Array.from({ length: sizeOf(shape) }, () => draw(random)) };
}

/** Uniform in [-bound, bound). */
export function uniform(bound: number, shape: readonly number[]): Start {
  return {
    shape,
    init: (random) => Float32Array.from({ length: sizeOf(shape) }, () => bound * (2 * random.uniform() - 1)),
  };
}

/** The identity, with `rest` beside the diagonal. */
export function diagonal(size: number, rest = 0): Start {
  return {
    shape: [size, size],
    init: () => Float32Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : rest)),
  };
}

/** nn.Linear's default, Kaiming uniform with a = sqrt(5): U(-1 / sqrt(fan in), 1 / sqrt(fan in)), the fan in being shape[1]. */
export function kaiming(shape: readonly [number, number]): Start {
  return uniform(1 / Math.sqrt(shape[1]), shape);
}
