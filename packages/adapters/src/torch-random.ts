/** Random numbers as PyTorch's CPU generator draws them, for tensors that its users regenerate from a seed instead of storing. */

const SIZE = 624;
const SHIFT = 397;

/** MT19937 (Matsumoto & Nishimura 1998), seeded by its 2002 initialisation as torch.Generator.manual_seed does with the seed's lower 32 bits. */
export class TorchRandom {
  #state = new Uint32Array(SIZE);
  #next = SIZE;

  constructor(seed: number) {
    const state = this.#state;
    state[0] = seed >>> 0;
    for (let i = 1; i < SIZE; i++) {
      const last = state[i - 1]!;
      state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
    }
  }

  uint32(): number {
    if (this.#next === SIZE) this.#turn();
    let y = this.#state[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  /** tensor.uniform_(-bound, bound) in float32: 24 bits of a draw each, in row-major order. */
  uniform(count: number, bound: number): Float32Array {
    // One rounding: the product and the sum are fused there.
    const [from, width] = [Math.fround(-bound), Math.fround(Math.fround(bound) - Math.fround(-bound))];
    return Float32Array.from({ length: count }, () => {
      const x = (this.uint32() & 0xffffff) / 2 ** 24;
      return x * width + from;
    });
  }

  #turn(): void {
    const state = this.#state;
    for (let i = 0; i < SIZE; i++) {
      const y = (state[i]! & 0x80000000) | (state[(i + 1) % SIZE]! & 0x7fffffff);
      state[i] = state[(i + SHIFT) % SIZE]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}
