/** Nodes that change state: gradient accumulation and AdamW. */
import {
  accumulate as accumulateKernel,
  adamw as adamwKernel,
  ADAMW_HYPER,
  clipFactor,
  SUM_CHUNK,
  sumSquares,
} from "@graft/kernels";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

/** Inputs sum, x, keep [1]: sum = keep * sum + x in place. */
export const accumulateOp = defineOp({
  name: "accumulate",
  infer: () => [],
  mutates: [0],
  interpret({ inputs: [sum, x, keep] }) {
    accumulateKernel.reference({ x: x!, keep: keep!, sum: sum! }, { count: sum!.length }, {});
  },
  lower(call) {
    call.run(
      accumulateKernel,
      {},
      { count: sizeOf(call.inputs[0]!.shape) },
      { sum: call.in(0), x: call.in(1), keep: call.in(2) },
    );
  },
  cases: [{ name: "vector", inputs: [f32(70), f32(70), f32(1)], attrs: {} }],
});

/** Inputs maxNorm [1], then the tensors; output [2] = (global L2 norm, clipping coefficient). */
export const globalNormOp = defineOp({
  name: "global_norm",
  infer: () => [{ shape: [2], dtype: "f32" }],
  interpret({ inputs: [maxNorm, ...tensors], outputs: [norm] }) {
    const parts = Float64Array.from(tensors, (t) => t.reduce((sum, x) => sum + x * x, 0));
    clipFactor.reference({ parts, maxNorm: maxNorm!, norm: norm! }, { count: parts.length }, {});
  },
  lower(call) {
    const counts = call.inputs.slice(1).map((t) => sizeOf(t.shape));
    const total = counts.reduce((sum, count) => sum + Math.ceil(count / SUM_CHUNK), 0);
    const parts = call.scratch(total * 4);
    let offset = 0;
    for (const [i, count] of counts.entries()) {
      call.run(sumSquares, {}, { count, offset }, { x: call.in(i + 1), parts });
      offset += Math.ceil(count / SUM_CHUNK);
    }
    call.run(clipFactor, {}, { count: total }, { parts, maxNorm: call.in(0), norm: call.out(0) });
  },
  cases: [
    {
      name: "three tensors",
      inputs: [f32(1), f32(70), f32(3, 5), f32(SUM_CHUNK + 3)],
      attrs: {},
      fill: { 0: () => 2 },
    },
  ],
});

/** Inputs p, m, v, g, clip [2], hyper: one AdamW step in place. `decay` 0 leaves weight decay out. */
export const adamwOp = defineOp<{ decay: number }>({
  name: "adamw",
  infer: () => [],
  mutates: [0, 1, 2],
  interpret({ inputs: [p, m, v, g, clip, hyper], attrs: { decay } }) {
    const buffers = { p: p!, m: m!, v: v!, g: g!, clip: clip!, hyper: hyper! };
    adamwKernel.reference(buffers, { count: p!.length, decay }, {});
  },
  lower(call) {
    const [p, m, v, g, clip, hyper] = [0, 1, 2, 3, 4, 5].map((i) => call.in(i));
    const buffers = { p: p!, m: m!, v: v!, g: g!, clip: clip!, hyper: hyper! };
    call.run(adamwKernel, {}, { count: sizeOf(call.inputs[0]!.shape), decay: call.attrs.decay }, buffers);
  },
  cases: [
    {
      name: "one step",
      inputs: [f32(70), f32(70), f32(70), f32(70), f32(2), f32(ADAMW_HYPER.length)],
      attrs: { decay: 1 },
      fill: {
        2: (i) => (i % 7) / 7,
        4: (i) => [3, 0.7][i]!,
        5: (i) => [1e-2, 0.9, 0.999, 0.1, 0.001, 1e-8, 0.1, 0.271, 0.0547][i]!,
      },
    },
  ],
});

/** sum = keep * sum + x, in place. sum must be a param; keep: [1]. */
export function accumulate(sum: Tensor, x: Tensor, keep: Tensor): void {
  sum.graph.apply(accumulateOp, [sum, x, keep], {});
}

/** [2] = (L2 norm of all tensors together, min(1, maxNorm / (norm + 1e-6)) or 1 if maxNorm <= 0). */
export function globalNorm(maxNorm: Tensor, tensors: readonly Tensor[]): Tensor {
  return maxNorm.graph.apply(globalNormOp, [maxNorm, ...tensors], {})[0]!;
}

export interface AdamwState {
  readonly p: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
}

/** One AdamW step in place. clip: [2] from globalNorm; hyper: see ADAMW_HYPER. */
export function adamw({ p, m, v }: AdamwState, g: Tensor, clip: Tensor, hyper: Tensor, decay: number): void {
  p.graph.apply(adamwOp, [p, m, v, g, clip, hyper], { decay });
}
