/** Causal attention over whole sequences, with segments for padding and packing. */
import { attention as attentionKernel, attentionDelta, attentionGradKey, attentionGradQuery } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp, type LowerCall, type Ref } from "../graph/op.ts";
import { f32, i32 } from "../graph/op-case.ts";

export interface AttentionAttrs extends Record<string, unknown> {
  scale: number;
  /** Keys a query sees, itself included; 0: all. */
  window: number;
}

function sizesOf(q: Spec, k: Spec) {
  const [batch, length, heads, headDim] = q.shape as [number, number, number, number];
  return { batch, length, heads, kvHeads: k.shape[2]!, headDim };
}
function callSizes(q: Spec, k: Spec, { scale, window }: AttentionAttrs, slopes: unknown) {
  const { headDim, ...dims } = sizesOf(q, k);
  return { statics: { headDim, window, alibi: slopes !== undefined }, dims: { ...dims, scale } };
}

/**
 * Inputs q [batch, length, heads, headDim], k, v [batch, length, kvHeads, headDim], segments [batch, length], and with ALiBi slopes [heads] and positions
 * [batch, length]; outputs out, lse [batch, heads, length].
 */
export const attentionOp = defineOp<AttentionAttrs>({
  name: "attention",
  infer([q, k, v, segments, slopes, positions]) {
    const { batch, length, heads, kvHeads, headDim } = sizesOf(q!, k!);
    const fits =
      q!.shape.length === 4 &&
      `${k!.shape}` === `${[batch, length, kvHeads, headDim]}` &&
      `${v!.shape}` === `${k!.shape}` &&
      `${segments!.shape}` === `${[batch, length]}` &&
      heads % kvHeads === 0 &&
      (!slopes || (`${slopes.shape}` === `${[heads]}` && `${positions?.shape}` === `${[batch, length]}`));
    if (!fits)
      throw new ShapeError(
        `attention: q [${q!.shape}], k [${k!.shape}], v [${v!.shape}], segments [${segments!.shape}]`,
      );
    return [
      { shape: q!.shape, dtype: "f32" },
      { shape: [batch, heads, length], dtype: "f32" },
    ];
  },
  interpret({ inputs: [q, k, v, segments, slopes, positions], outputs: [out, lse], inputSpecs, attrs }) {
    const { statics, dims } = callSizes(inputSpecs[0]!, inputSpecs[1]!, attrs, slopes);
    attentionKernel.reference({ q, k, v, segments, slopes, positions, out, lse } as never, dims, statics);
  },
  grad({ inputs: [q, k, v, segments, ...distance], outputs: [out, lse], grads: [g], needs, attrs }) {
    const { graph } = q!;
    const delta = graph.apply(attentionDeltaOp, [g!, out!], {})[0]!;
    const inputs = [q!, k!, v!, segments!, lse!, delta, g!, ...distance];
    const dq = needs[0] ? graph.apply(attentionGradQueryOp, inputs, attrs)[0] : undefined;
    const [dk, dv] = needs[1] || needs[2] ? graph.apply(attentionGradKeyOp, inputs, attrs) : [];
    return [dq, dk, dv];
  },
  lower(call) {
    const { statics, dims } = callSizes(call.inputs[0]!, call.inputs[1]!, call.attrs, call.inputs[4]);
    const named = namedRefs(call, ["q", "k", "v", "segments", "slopes", "positions"]);
    call.run(attentionKernel, statics, dims, { ...named, out: call.out(0), lse: call.out(1) });
  },
  cases: [
    {
      name: "grouped heads, left padding",
      inputs: [f32(2, 11, 4, 6), f32(2, 11, 2, 6), f32(2, 11, 2, 6), i32(2, 11)],
      attrs: { scale: 0.4, window: 0 },
      fill: { 3: (i) => (i % 11 < 3 && i > 10 ? 0 : 1) },
      gradientOf: [0, 1, 2],
    },
    {
      name: "packed, window",
      inputs: [f32(1, 13, 2, 8), f32(1, 13, 2, 8), f32(1, 13, 2, 8), i32(1, 13)],
      attrs: { scale: 0.4, window: 4 },
      fill: { 3: (i) => (i < 5 ? 1 : 2) },
      gradientOf: [0, 1, 2],
    },
    {
      name: "alibi, left padding",
      inputs: [f32(2, 11, 3, 6), f32(2, 11, 3, 6), f32(2, 11, 3, 6), i32(2, 11), f32(3), i32(2, 11)],
      attrs: { scale: 0.4, window: 0 },
      fill: { 3: (i) => (i % 11 < 3 && i > 10 ? 0 : 1), 4: (i) => 0.5 ** (i + 1), 5: (i) => i % 11 },
      gradientOf: [0, 1, 2],
    },
  ],
});

export const attentionDeltaOp = defineOp({
  name: "attention_delta",
  infer: ([g]) => [{ shape: [g!.shape[0]!, g!.shape[2]!, g!.shape[1]!], dtype: "f32" }],
  interpret({ inputs: [g, out], outputs: [delta], inputSpecs: [spec] }) {
    const { statics, dims } = callSizes(spec!, spec!, { scale: 1, window: 0 }, undefined);
    attentionDelta.reference({ g, out, delta } as never, dims, statics);
  },
  lower(call) {
    const { statics, dims } = callSizes(call.inputs[0]!, call.inputs[0]!, { scale: 1, window: 0 }, undefined);
    call.run(attentionDelta, statics, dims, { g: call.in(0), out: call.in(1), delta: call.out(0) });
  },
  cases: [{ name: "small", inputs: [f32(2, 3, 2, 5), f32(2, 3, 2, 5)], attrs: {} }],
});

const gradInputs = ["q", "k", "v", "segments", "lse", "delta", "g", "slopes", "positions"] as const;
/** The inputs that a call has, under the kernel's names. */
function namedRefs(call: LowerCall<AttentionAttrs>, names: readonly string[]): Record<string, Ref> {
  return Object.fromEntries(names.slice(0, call.inputs.length).map((name, i) => [name, call.in(i)]));
}

const gradCases = [
  {
    name: "small",
    inputs: [f32(1, 5, 2, 4), f32(1, 5, 1, 4), f32(1, 5, 1, 4), i32(1, 5), f32(1, 2, 5), f32(1, 2, 5), f32(1, 5, 2, 4)],
    attrs: { scale: 0.5, window: 0 },
    fill: { 3: () => 1 },
  },
];

export const attentionGradQueryOp = defineOp<AttentionAttrs>({
  name: "attention_grad_query",
  infer: ([q]) => [{ shape: q!.shape, dtype: "f32" }],
  interpret({ inputs, outputs: [dq], inputSpecs, attrs }) {
    const { statics, dims } = callSizes(inputSpecs[0]!, inputSpecs[1]!, attrs, inputs[7]);
    const named = Object.fromEntries(gradInputs.map((name, i) => [name, inputs[i]]));
    attentionGradQuery.reference({ ...named, dq } as never, dims, statics);
  },
  lower(call) {
    const { statics, dims } = callSizes(call.inputs[0]!, call.inputs[1]!, call.attrs, call.inputs[7]);
    const named = namedRefs(call, gradInputs);
    call.run(attentionGradQuery, statics, dims, { ...named, dq: call.out(0) });
  },
  cases: gradCases,
});

export const attentionGradKeyOp = defineOp<AttentionAttrs>({
  name: "attention_grad_key",
  infer: ([, k]) => [
    { shape: k!.shape, dtype: "f32" },
    { shape: k!.shape, dtype: "f32" },
  ],
  interpret({ inputs, outputs: [dk, dv], inputSpecs, attrs }) {
    const { statics, dims } = callSizes(inputSpecs[0]!, inputSpecs[1]!, attrs, inputs[7]);
    const named = Object.fromEntries(gradInputs.map((name, i) => [name, inputs[i]]));
    attentionGradKey.reference({ ...named, dk, dv } as never, dims, statics);
  },
  lower(call) {
    const { statics, dims } = callSizes(call.inputs[0]!, call.inputs[1]!, call.attrs, call.inputs[7]);
    const named = namedRefs(call, gradInputs);
    call.run(attentionGradKey, statics, dims, { ...named, dk: call.out(0), dv: call.out(1) });
  },
  cases: gradCases,
});

/**
 * softmax(scale q k^T) v over earlier keys of the same segment; segment 0 is padding. With `distance`, scores lose slope times the difference of positions
 * (ALiBi, Press et al. 2021, arXiv:2108.12409).
 * q: [batch, length, heads, headDim]; k, v: [batch, length, kvHeads, headDim]; segments, positions: [batch, length] i32; slopes: [heads].
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  segments: Tensor,
  attrs: AttentionAttrs,
  distance?: { readonly slopes: Tensor; readonly positions: Tensor },
): Tensor {
  const inputs = [q, k, v, segments, ...(distance ? [distance.slopes, distance.positions] : [])];
  return q.graph.apply(attentionOp, inputs, attrs)[0]!;
}
