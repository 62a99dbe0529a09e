/** Seeded random numbers in 32-bit integer arithmetic: the same on every platform. Not for secrets. */

/** A stream of random numbers with state; two made with the same seed and stream give the same numbers. */
export interface Random {
  /** Uniform in [0, 2^32). */
  uint32(): number;
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number;
  /** Uniform integer in [0, count), without modulo bias; count at most 2^32. */
  below(count: number): number;
  pick<T>(items: readonly T[]): T;
  /** A shuffled copy (Fisher and Yates). */
  shuffled<T>(items: readonly T[]): T[];
}

/**
 * sfc32 (Doty-Humphrey, PractRand): a chaotic mix of three words and a counter. `stream` gives independent sequences for one
 * seed, for example one per epoch. Throws RangeError unless both are integers that a double holds exactly.
 */
export function createRandom(seed: number, stream = 0): Random {
  for (const [name, value] of [["seed", seed] as const, ["stream", stream] as const]) {
    if (!Number.isSafeInteger(value)) throw new RangeError(`random: ${name} must be a safe integer, got ${value}`);
  }
  let a = seed | 0;
  let b = Math.floor(seed / 2 ** 32) | 0;
  let c = Math.imul(stream, 0x9e3779b1) | 0;
  let counter = (Math.floor(stream / 2 ** 32) | 0) + 1;

  function uint32(): number {
    const result = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + result) | 0;
    return result >>> 0;
  }
  // The author's advice: 15 rounds until every bit of the state depends on every bit of the seed.
  for (let i = 0; i < 15; i++) uint32();

  function below(count: number): number {
    if (!(Number.isInteger(count) && count >= 1 && count <= 2 ** 32)) {
      throw new RangeError(`random: below needs an integer in [1, 2^32], got ${count}`);
    }
    const limit = 2 ** 32 - (2 ** 32 % count);
    let draw = uint32();
    while (draw >= limit) draw = uint32();
    return draw % count;
  }

  return {
    uint32,
    uniform: () => ((uint32() >>> 5) * 2 ** 26 + (uint32() >>> 6)) / 2 ** 53,
    below,
    pick: (items) => items[below(items.length)]!,
    shuffled(items) {
      const result = [...items];
      for (let i = result.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [result[i], result[j]] = [result[j]!, result[i]!];
      }
      return result;
    },
  };
}

/** A random order of 0 .. count - 1. */
export function permutation(count: number, random: Random): number[] {
  return random.shuffled(Array.from({ length: count }, (_, i) => i));
}
