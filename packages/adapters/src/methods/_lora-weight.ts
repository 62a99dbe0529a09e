/** A LoRA's change of a weight, on the host. */
import type { Base } from "../method.ts";
import type { LoraSite } from "./_lora-config.ts";

/** W + s B A in double precision, in the layout the base stores. */
export async function changedWeight(
  base: Base,
  own: LoraSite,
  values: ReadonlyMap<string, Float32Array>,
): Promise<Float64Array> {
  const { site, r, scaling, keys } = own;
  const weight = Float64Array.from(await base.read(`${site.name}.weight`));
  if (scaling === 0) return weight;
  const [a, b] = [values.get(keys.a)!, values.get(keys.b)!];
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

/** L2 norms of the rows of a row-major weight. */
export function rowNorms(weight: ArrayLike<number>, rows: number): Float32Array {
  const columns = weight.length / rows;
  return Float32Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let c = 0; c < columns; c++) sum += weight[r * columns + c]! ** 2;
    return Math.sqrt(sum);
  });
}
