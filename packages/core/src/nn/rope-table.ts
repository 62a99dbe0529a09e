/** Rotary frequencies and their scalings, as transformers' modeling_rope_utils defines them. */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import type { ModelContext } from "./context.ts";

/** transformers 4.x `rope_scaling` (without theta) or 5.x `rope_parameters`. */
export const ropeScalingSchema = z
  .looseObject({
    rope_type: z.string().optional(),
    type: z.string().optional(),
    rope_theta: z.number().positive().optional(),
    partial_rotary_factor: z.number().optional(),
    factor: z.number().min(1).optional(),
    low_freq_factor: z.number().optional(),
    high_freq_factor: z.number().optional(),
    original_max_position_embeddings: z.number().int().positive().optional(),
  })
  .nullish();

export type RopeParameters =
  | { readonly type: "default"; readonly theta: number }
  | { readonly type: "linear"; readonly theta: number; readonly factor: number }
  | { readonly type: "dynamic"; readonly theta: number; readonly factor: number; readonly originalLength: number }
  | {
      readonly type: "llama3";
      readonly theta: number;
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalLength: number;
    };

/** Reads both spellings. Throws ConfigError for a scaling that is not known or lacks a field. */
export function ropeParameters(
  config: {
    readonly rope_theta?: number | undefined;
    readonly rope_scaling?: z.output<typeof ropeScalingSchema>;
    readonly rope_parameters?: z.output<typeof ropeScalingSchema>;
    readonly max_position_embeddings: number;
  },
  where: string,
): RopeParameters {
  const scaling = config.rope_parameters ?? config.rope_scaling ?? {};
  const type = scaling.rope_type ?? scaling.type ?? "default";
  const theta = scaling.rope_theta ?? config.rope_theta ?? 10_000;
  const need = (
    name: "factor" | "low_freq_factor" | "high_freq_factor" | "original_max_position_embeddings",
  ): number => {
    const value = scaling[name];
    if (value === undefined) throw new ConfigError(`${where}: rope scaling "${type}" needs ${name}`);
    return value;
  };
  switch (type) {
    case "default":
      return { type, theta };
    case "linear":
      return { type, theta, factor: need("factor") };
    case "dynamic":
      // transformers takes max_position_embeddings here whatever original_max_position_embeddings says.
      return { type, theta, factor: need("factor"), originalLength: config.max_position_embeddings };
    case "llama3":
      return {
        type,
        theta,
        factor: need("factor"),
        lowFreqFactor: need("low_freq_factor"),
        highFreqFactor: need("high_freq_factor"),
        originalLength: need("original_max_position_embeddings"),
      };
    default:
      throw new ConfigError(`${where}: unknown rope scaling "${type}". Available: default, linear, dynamic, llama3`);
  }
}

/** Angle per position of each pair, [dim / 2], in radians. `length`: longest sequence; only "dynamic" depends on it. */
export function inverseFrequencies(rope: RopeParameters, dim: number, length: number): Float64Array {
  const plain = (theta: number) => Float64Array.from({ length: dim / 2 }, (_, i) => 1 / theta ** ((2 * i) / dim));
  switch (rope.type) {
    case "default":
      return plain(rope.theta);
    case "linear":
      return plain(rope.theta).map((f) => f / rope.factor);
    case "dynamic": {
      const { theta, factor, originalLength } = rope;
      const stretched = Math.max(length, originalLength);
      return plain(theta * ((factor * stretched) / originalLength - (factor - 1)) ** (dim / (dim - 2)));
    }
    case "llama3": {
      const { factor, lowFreqFactor, highFreqFactor, originalLength } = rope;
      return plain(rope.theta).map((f) => {
        const wavelength = (2 * Math.PI) / f;
        if (wavelength < originalLength / highFreqFactor) return f;
        if (wavelength > originalLength / lowFreqFactor) return f / factor;
        const smooth = (originalLength / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
        return ((1 - smooth) * f) / factor + smooth * f;
      });
    }
  }
}

/**
 * cos and sin of position * frequency, each [longest sequence of the trace, dim / 2], as constants of the graph. Computed in double precision from frequencies rounded to f32,
 * as the reference rounds them.
 */
export function ropeTable(m: ModelContext, rope: RopeParameters, dim: number): { cos: Tensor; sin: Tensor } {
  const half = dim / 2;
  const length = m.maxLength;
  const frequencies = Float32Array.from(inverseFrequencies(rope, dim, length));
  const table = (f: (angle: number) => number) =>
    Float32Array.from({ length: length * half }, (_, i) =>
      f(Math.fround(Math.floor(i / half) * frequencies[i % half]!)),
    );
  return {
    cos: m.graph.constant(`rope.cos.${dim}`, [length, half], table(Math.cos)),
    sin: m.graph.constant(`rope.sin.${dim}`, [length, half], table(Math.sin)),
  };
}
