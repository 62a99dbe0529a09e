/** OFT: f(R x), R block-diagonal and orthogonal (Qiu et al. 2023, arXiv:2306.07280, section 4); the input is turned, as PEFT does since OFTv2 (arXiv:2506.19847). */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import { einsum, limitRowNorm, matmul, reshape, skew } from "@graft/core/ops";
import { z } from "zod";
import { type Matrix, matrix } from "../linear-algebra.ts";
import { bindLinear, type LinearAdapter, type LinearMethod } from "../linear-method.ts";
import { defineMethod } from "../method.ts";
import { constant, normal } from "../starts.ts";
import { layerFields, refuseBias, refuseDropout, targetFields } from "../target-config.ts";
import { neumannSeries, rotationOf, rotationOnHost, turnColumns } from "./_rotation.ts";

const oftConfig = z.looseObject({
  ...targetFields,
  ...layerFields,
  /** Blocks of a layer, or their size: the other one is 0. */
  r: z.int().min(0).default(0),
  oft_block_size: z.int().min(0).default(32),
  module_dropout: z.number().min(0).lt(1).default(0),
  fan_in_fan_out: z.boolean().default(false),
  bias: z.enum(["none", "all", "oft_only"]).default("none"),
  init_weights: z.boolean().default(true),
  coft: z.boolean().default(false),
  eps: z.number().min(0).default(6e-5),
  block_share: z.boolean().default(false),
  use_cayley_neumann: z.boolean().default(true),
  num_cayley_neumann_terms: z.int().min(1).default(5),
});
type OftConfig = z.output<typeof oftConfig>;
type Name = "oft_R.weight";

const linear: LinearMethod<OftConfig> = {
  name: "oft",
  peftType: "OFT",
  tiny: { oft_block_size: 4 },
  config: oftConfig as z.ZodType<OftConfig>,
  startsAsIdentity: (config) => config.init_weights,
  check(config, binding) {
    if ((config.r === 0) === (config.oft_block_size === 0))
      throw new ConfigError(
        `${binding.where}: r is ${config.r} and oft_block_size ${config.oft_block_size}; one of them must be 0, for their product is the layer's width`,
      );
    refuseBias("OFT", config.bias, binding.where);
    refuseDropout(config, ["module_dropout"], binding);
  },
  at({ inDim }, config): LinearAdapter<Name> {
    const size =
      config.r === 0 ? nearestDivisor(inDim, config.oft_block_size) : inDim / nearestDivisor(inDim, config.r);
    const blocks = inDim / size;
    const count = config.block_share ? 1 : blocks;
    const shape = [count, (size * (size - 1)) / 2];
    const limit = config.coft ? packedLimit(config.eps, count) : undefined;
    const rotation = config.use_cayley_neumann
      ? ({ kind: "series", coefficients: neumannSeries(config.num_cayley_neumann_terms) } as const)
      : ({ kind: "cayley" } as const);
    return {
      parameters: { "oft_R.weight": config.init_weights ? constant(0, shape) : normal(0.1, shape) },
      apply({ x, f }, { "oft_R.weight": packed }) {
        const inside = limit === undefined ? packed : limitRowNorm(packed, limit);
        const R = rotationOf(skew(inside, size), rotation); // [count, size, size]
        return f(reshape(turn(x, R, blocks, size), x.shape));
      },
      merge(weight, { "oft_R.weight": packed }) {
        const rotations = Array.from({ length: count }, (_, block) => {
          const row = packed.data.subarray(block * packed.columns, (block + 1) * packed.columns);
          return rotationOnHost(skewOnHost(limit === undefined ? row : limited(row, limit), size), rotation);
        });
        return turnColumns(weight, rotations, (block, i) => block * size + i);
      },
    };
  },
};

export const oft = defineMethod<OftConfig>({
  name: linear.name,
  peftType: linear.peftType,
  tiny: linear.tiny,
  sizeFields: ["r", "oft_block_size"],
  config: linear.config,
  bind(config, base, where, origin, shapeInFile = () => undefined) {
    const bound = bindLinear(linear, config, { base, where, origin, shapeInFile });
    if (!config.coft) return bound;
    // The optimizer goes on from the constrained values, not from where it stepped.
    const rotations = bound.parameters.filter(({ key }) => key.endsWith(".oft_R.weight"));
    return {
      ...bound,
      afterStep: () => ({
        async run(_step, values) {
          for (const { key, shape } of rotations) {
            const own = await values.parameter(key);
            const [rows, columns] = shape as [number, number];
            for (let row = 0; row < rows; row++) {
              const at = own.subarray(row * columns, (row + 1) * columns);
              at.set(limited(at, packedLimit(config.eps, rows)));
            }
            values.write(key, own);
          }
        },
        state: () => new Map(),
        restore() {},
      }),
    };
  },
});

/** x: [tokens, in]. One rotation for all blocks is a plain product. */
function turn(x: Tensor, R: Tensor, blocks: number, size: number): Tensor {
  if (R.shape[0] !== blocks) return matmul(reshape(x, [x.shape[0]! * blocks, size]), reshape(R, [size, size]));
  return einsum("tki,kij->tkj", reshape(x, [x.shape[0]!, blocks, size]), R);
}

/** COFT keeps |S| within eps / sqrt(blocks), Frobenius; what is above the diagonal is half of S. */
function packedLimit(eps: number, blocks: number): number {
  return eps / Math.sqrt(blocks) / Math.SQRT2;
}

function limited<T extends Float32Array | Float64Array>(row: T, limit: number): T {
  const norm = Math.hypot(...row);
  return norm > limit ? (row.map((x) => (x * limit) / norm) as T) : row;
}

function skewOnHost(packed: Float64Array, size: number): Matrix {
  const s = matrix(size, size);
  let at = 0;
  for (let i = 0; i < size; i++) {
    for (let j = i + 1; j < size; j++) {
      s.data[i * size + j] = packed[at]!;
      s.data[j * size + i] = -packed[at++]!;
    }
  }
  return s;
}

/** The divisor of `dimension` that is nearest to `wanted`, the smaller of two that are as near. */
export function nearestDivisor(dimension: number, wanted: number): number {
  for (let distance = 0; distance < dimension; distance++) {
    for (const near of [wanted - distance, wanted + distance]) if (near > 0 && dimension % near === 0) return near;
  }
  return dimension;
}
