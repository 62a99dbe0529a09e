/** RMSNorm and LayerNorm over the last dimension. */
import { norm as normKernel, normGrad, type NormKind, normWeightGrad } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

interface NormAttrs extends Record<string, unknown> {
  kind: NormKind;
  eps: number;
}
const rowsAndColumns = (x: Spec) => ({ rows: sizeOf(x.shape.slice(0, -1)), columns: x.shape.at(-1)! });

/** Inputs x, weight, (bias); outputs y, stats [rows, 2] = (mean, rstd). */
export const normOp = defineOp<NormAttrs>({
  name: "norm",
  infer([x, weight, bias], { kind }) {
    const { rows, columns } = rowsAndColumns(x!);
    for (const v of [weight, bias]) {
      if (v && sizeOf(v.shape) !== columns)
        throw new ShapeError(`norm: x is [${x!.shape}], weight or bias [${v.shape}]`);
    }
    if (bias && kind === "rms") throw new ShapeError("norm: RMSNorm has no bias");
    return [
      { shape: x!.shape, dtype: "f32" },
      { shape: [rows, 2], dtype: "f32" },
    ];
  },
  interpret({ inputs: [x, weight, bias], outputs: [y, stats], inputSpecs, attrs: { kind, eps } }) {
    const { rows, columns } = rowsAndColumns(inputSpecs[0]!);
    for (let r = 0; r < rows; r++) {
      const row = x!.subarray(r * columns, (r + 1) * columns);
      const mean = kind === "layer" ? row.reduce((a, b) => a + b, 0) / columns : 0;
      const rstd = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / columns + eps);
      stats!.set([mean, rstd], 2 * r);
      for (let c = 0; c < columns; c++) y![r * columns + c] = (row[c]! - mean) * rstd * weight![c]! + (bias?.[c] ?? 0);
    }
  },
  grad({ inputs: [x, weight, bias], outputs: [, stats], grads: [g], needs, attrs }) {
    const { graph } = x!;
    const dx = needs[0] ? graph.apply(normGradOp, [g!, x!, weight!, stats!], attrs)[0] : undefined;
    if (!needs[1] && !needs[2]) return [dx];
    const [dweight, dbias] = graph.apply(normWeightGradOp, [g!, x!, stats!], {
      hasBias: bias !== undefined,
      shape: weight!.shape,
    });
    return [dx, dweight, dbias];
  },
  lower(call) {
    const hasBias = call.inputs.length === 3;
    call.run(normKernel, { kind: call.attrs.kind, eps: call.attrs.eps, hasBias }, rowsAndColumns(call.inputs[0]!), {
      x: call.in(0),
      weight: call.in(1),
      ...(hasBias ? { bias: call.in(2) } : {}),
      y: call.out(0),
      stats: call.out(1),
    });
  },
  cases: [
    { name: "rms", inputs: [f32(4, 17), f32(17)], attrs: { kind: "rms", eps: 1e-5 } },
    { name: "layer", inputs: [f32(2, 2, 17), f32(17), f32(17)], attrs: { kind: "layer", eps: 1e-5 } },
    { name: "layer without bias", inputs: [f32(3, 9), f32(9)], attrs: { kind: "layer", eps: 1e-5 } },
  ],
});

/** Inputs: upstream gradient, x, weight, stats. */
export const normGradOp = defineOp<NormAttrs>({
  name: "norm_grad",
  infer: ([g]) => [{ shape: g!.shape, dtype: "f32" }],
  interpret({ inputs: [g, x, weight, stats], outputs: [dx], inputSpecs, attrs: { kind } }) {
    const sizes = rowsAndColumns(inputSpecs[0]!);
    normGrad.reference({ g: g!, x: x!, weight: weight!, stats: stats!, dx: dx! } as never, sizes, { kind });
  },
  lower(call) {
    call.run(normGrad, { kind: call.attrs.kind }, rowsAndColumns(call.inputs[0]!), {
      g: call.in(0),
      x: call.in(1),
      weight: call.in(2),
      stats: call.in(3),
      dx: call.out(0),
    });
  },
  cases: [{ name: "rms", inputs: [f32(3, 9), f32(3, 9), f32(9), f32(3, 2)], attrs: { kind: "rms", eps: 1e-5 } }],
});

/** Inputs: upstream gradient, x, stats; outputs dweight, (dbias). */
export const normWeightGradOp = defineOp<{ hasBias: boolean; shape: readonly number[] }>({
  name: "norm_weight_grad",
  infer: (_, { hasBias, shape }) => [{ shape, dtype: "f32" }, ...(hasBias ? [{ shape, dtype: "f32" } as const] : [])],
  interpret({ inputs: [g, x, stats], outputs: [dweight, dbias], inputSpecs, attrs: { hasBias } }) {
    const buffers = { g: g!, x: x!, stats: stats!, dweight: dweight!, dbias: dbias! };
    normWeightGrad.reference(buffers as never, rowsAndColumns(inputSpecs[0]!), { hasBias });
  },
  lower(call) {
    const { hasBias } = call.attrs;
    call.run(normWeightGrad, { hasBias }, rowsAndColumns(call.inputs[0]!), {
      g: call.in(0),
      x: call.in(1),
      stats: call.in(2),
      dweight: call.out(0),
      ...(hasBias ? { dbias: call.out(1) } : {}),
    });
  },
  cases: [{ name: "with bias", inputs: [f32(3, 9), f32(3, 9), f32(3, 2)], attrs: { hasBias: true, shape: [9] } }],
});

/** x / sqrt(mean(x^2) + eps) * weight. x: [..., columns]; weight: [columns]. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return x.graph.apply(normOp, [x, weight], { kind: "rms", eps })[0]!;
}

/** (x - mean) / sqrt(var + eps) * weight + bias. x: [..., columns]; weight, bias: [columns]. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor | undefined, eps: number): Tensor {
  return x.graph.apply(normOp, bias ? [x, weight, bias] : [x, weight], { kind: "layer", eps })[0]!;
}
