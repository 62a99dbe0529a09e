/** Seeded random numbers on the host: the same on every platform. */

/** PCG32 (O'Neill 2014, pcg-xsh-rr): 64-bit state, 32-bit output. `stream` gives independent sequences of one seed. */
export class Random {
  #state: bigint;
  readonly #increment: bigint;
  #spare: number | undefined;

  constructor(seed: number, stream = 0) {
    this.#increment = ((BigInt(stream) << 1n) | 1n) & MASK;
    this.#state = 0n;
    this.uint32();
    this.#state = (this.#state + BigInt(seed)) & MASK;
    this.uint32();
  }

  uint32(): number {
    const old = this.#state;
    this.#state = (old * 6364136223846793005n + this.#increment) & MASK;
    const shifted = Number((((old >> 18n) ^ old) >> 27n) & 0xffffffffn);
    const turn = Number(old >> 59n);
    return ((shifted >>> turn) | (shifted << (-turn & 31))) >>> 0;
  }

  /** In [0, 1), 53 bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6)) / 2 ** 53;
  }

  /** Standard normal (Box & Muller 1958). */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Integer in [0, bound), unbiased. */
  int(bound: number): number {
    const limit = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const draw = this.uint32();
      if (draw < limit) return draw % bound;
    }
  }

  /** Fisher-Yates, in place. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  }
}

const MASK = (1n << 64n) - 1n;

/** A 32-bit hash of a text, for streams named by words (FNV-1a). */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (const char of text) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193);
  return hash >>> 0;
}
