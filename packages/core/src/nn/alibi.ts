/** Attention with linear biases. */
import type { Tensor } from "../graph/graph.ts";
import type { ModelContext } from "./context.ts";

/**
 * Slope of each head (Press et al. 2021, arXiv:2108.12409, section 3): 2^(-8 h / n) for h = 1 .. n where n is a power of two; else those of the power
 * below, then every other one of twice that power.
 */
export function alibiSlopes(heads: number): Float32Array {
  const power = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from({ length: heads }, (_, h) =>
    h < power ? 2 ** ((-8 * (h + 1)) / power) : 2 ** ((-4 * (2 * (h - power) + 1)) / power),
  );
}

/** [heads], a constant of the graph. */
export function alibi(m: ModelContext, heads: number): Tensor {
  return m.graph.constant(`alibi.${heads}`, [heads], alibiSlopes(heads));
}
