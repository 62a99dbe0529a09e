/** A base of a few linear layers without a model around them: for what works on weights alone. */
import type { LinearSite } from "@graft/core/nn";
import type { Base } from "../src/index.ts";

/** Layers of the given shapes [out, in]; weights sin(0.3 i + layer). */
export function tinyBase(
  shapes: Readonly<Record<string, readonly [out: number, inputs: number]>>,
  { fanInFanOut = false } = {},
): Base {
  const sites = Object.entries(shapes).map(([name, [outDim, inDim]]): LinearSite => ({
    kind: "linear",
    name,
    weight: `${name}.weight`,
    inDim,
    outDim,
    fanInFanOut,
    hasBias: false,
    isHead: false,
    layer: undefined,
  }));
  const shapeOf = (parameter: string): readonly number[] | undefined => {
    const site = sites.find(({ name }) => `${name}.weight` === parameter);
    return site && (fanInFanOut ? [site.inDim, site.outDim] : [site.outDim, site.inDim]);
  };
  return {
    sites,
    modelType: "tiny",
    sizes: { modelType: "tiny" } as unknown as Base["sizes"],
    parameters: sites.map(({ name }) => `${name}.weight`),
    shapeOf,
    read(parameter) {
      const [rows, columns] = shapeOf(parameter)!;
      const layer = sites.findIndex(({ name }) => `${name}.weight` === parameter);
      return Promise.resolve(Float32Array.from({ length: rows! * columns! }, (_, i) => Math.sin(0.3 * i + layer)));
    },
  };
}
