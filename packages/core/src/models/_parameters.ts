/** Parameters of the modules that models are made of. */
import type { ParameterSpec } from "../nn/context.ts";

/** A linear layer; `fanInFanOut`: the weight is stored [in, out]. */
export function linearParameters(
  name: string,
  outDim: number,
  inDim: number,
  { bias, fanInFanOut = false }: { readonly bias: boolean; readonly fanInFanOut?: boolean },
): ParameterSpec[] {
  return [
    { name: `${name}.weight`, shape: fanInFanOut ? [inDim, outDim] : [outDim, inDim] },
    ...(bias ? [{ name: `${name}.bias`, shape: [outDim] }] : []),
  ];
}

/** A layer norm with weight and bias. */
export function layerNormParameters(name: string, width: number): ParameterSpec[] {
  return ["weight", "bias"].map((part) => ({ name: `${name}.${part}`, shape: [width] }));
}
