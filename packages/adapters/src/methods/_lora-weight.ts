/** A LoRA's change of a weight, on the host. */
import { CheckpointError } from "@graft/core/errors";
import type { LinearSite } from "@graft/core/nn";
import type { Base } from "../method.ts";
import type { LoraConfig, LoraSite } from "./_lora-config.ts";

type Values = ReadonlyMap<string, Float32Array>;

interface PlainFactors {
  readonly r: number;
  /** [r, columns] */
  readonly a: Float32Array;
  /** [rows, r] */
  readonly b: Float32Array;
}

/** Two matrices whose product is the whole change of the weight: A and B, or [A; A0] and [B, -B0] of twice the rank where B0 A0 is taken out of the base. */
function plainFactors({ r, keys }: LoraSite, values: Values): PlainFactors {
  const read = (key: string): Float32Array => {
    const found = values.get(key);
    if (!found) throw new CheckpointError(`${key}: no values are given for this adapter tensor`);
    return found;
  };
  const [a, b] = [read(keys.a), read(keys.b)];
  if (!keys.start) return { r, a, b };
  const [a0, b0] = [read(keys.start.a), read(keys.start.b)];
  const bothA = new Float32Array(2 * a.length);
  bothA.set(a);
  bothA.set(a0, a.length);
  const bothB = new Float32Array(2 * b.length);
  for (let i = 0; i < b.length; i++) {
    const at = Math.floor(i / r) * 2 * r + (i % r);
    bothB[at] = b[i]!;
    bothB[at + r] = -b0[i]!;
  }
  return { r: 2 * r, a: bothA, b: bothB };
}

/**
 * A LoRA that takes something out of its base as one that does not: the same function as a plain LoRA of twice the rank, alpha raised so that s stays
 * (what PEFT's path_initial_model_for_weight_conversion writes). Returns the config's fields that change, and the values.
 */
export function toPlainLora(
  config: LoraConfig,
  sites: readonly LoraSite[],
  values: Values,
): { readonly config: Partial<LoraConfig>; readonly values: Map<string, Float32Array> } {
  const plain = new Map(values);
  for (const own of sites) {
    if (!own.keys.start) continue;
    const { a, b } = plainFactors(own, values);
    plain.set(own.keys.a, a).set(own.keys.b, b);
    plain.delete(own.keys.start.a);
    plain.delete(own.keys.start.b);
  }
  // s is alpha / r, or alpha / sqrt(r).
  const raise = config.use_rslora ? Math.SQRT2 : 2;
  const times = (pattern: Readonly<Record<string, number>>, factor: number): Record<string, number> =>
    Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, factor * value]));
  return {
    config: {
      r: 2 * config.r,
      lora_alpha: raise * config.lora_alpha,
      ...(config.rank_pattern ? { rank_pattern: times(config.rank_pattern, 2) } : {}),
      ...(config.alpha_pattern ? { alpha_pattern: times(config.alpha_pattern, raise) } : {}),
      init_lora_weights: true,
    },
    values: plain,
  };
}

/** W + s (B A - B0 A0) in double precision, in the layout the base stores. */
export async function changedWeight(base: Base, own: LoraSite, values: Values): Promise<Float64Array> {
  const { site, scaling } = own;
  const weight = Float64Array.from(await base.read(`${site.name}.weight`));
  if (scaling === 0) return weight;
  const { r, a, b } = plainFactors(own, values);
  // Rows of the delta: outputs of a linear, vocabulary of an embedding.
  const [rows, columns] = site.kind === "embedding" ? [site.rows, site.columns] : [site.outDim, site.inDim];
  const isTransposed = site.kind === "linear" && site.fanInFanOut;
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < columns; c++) {
      let sum = 0;
      for (let k = 0; k < r; k++)
        sum += site.kind === "embedding" ? b[c * r + k]! * a[k * rows + row]! : b[row * r + k]! * a[k * columns + c]!;
      const at = isTransposed ? c * rows + row : row * columns + c;
      weight[at] = weight[at]! + scaling * sum;
    }
  }
  return weight;
}

/** L2 norm of the weights of each output, however they are stored. */
export function outputNorms(
  weight: ArrayLike<number>,
  { inDim, outDim, fanInFanOut }: Pick<LinearSite, "inDim" | "outDim" | "fanInFanOut">,
): Float32Array {
  const [ofOutput, ofInput] = fanInFanOut ? [1, outDim] : [inDim, 1];
  return Float32Array.from({ length: outDim }, (_, r) => {
    let sum = 0;
    for (let c = 0; c < inDim; c++) sum += weight[r * ofOutput + c * ofInput]! ** 2;
    return Math.sqrt(sum);
  });
}
