/** The elementwise part of one step of a long short-term memory. */
import { lstmCell as lstmCellKernel, lstmCellGrad } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";
import { fill } from "./fill.ts";

const dims = (c: Spec) => ({ rows: c.shape[0]!, hidden: c.shape[1]! });

/** Inputs gates [rows, 4 hidden], c [rows, hidden]; outputs h, next [rows, hidden]. */
export const lstmCellOp = defineOp({
  name: "lstm_cell",
  infer([gates, c]) {
    if (c!.shape.length !== 2 || `${gates!.shape}` !== `${[c!.shape[0], 4 * c!.shape[1]!]}`)
      throw new ShapeError(`lstm_cell: gates are [${gates!.shape}], c is [${c!.shape}]`);
    return [
      { shape: c!.shape, dtype: "f32" },
      { shape: c!.shape, dtype: "f32" },
    ];
  },
  interpret({ inputs: [gates, c], outputs: [h, next], inputSpecs }) {
    lstmCellKernel.reference({ gates: gates!, c: c!, h: h!, next: next! }, dims(inputSpecs[1]!), {});
  },
  grad({ inputs: [gates, c], grads: [gh, gnext] }) {
    const none = () => fill(c!.graph, c!.shape, 0);
    return c!.graph.apply(lstmCellGradOp, [gates!, c!, gh ?? none(), gnext ?? none()], {});
  },
  lower(call) {
    const buffers = { gates: call.in(0), c: call.in(1), h: call.out(0), next: call.out(1) };
    call.run(lstmCellKernel, {}, dims(call.inputs[1]!), buffers);
  },
  cases: [{ name: "rows", inputs: [f32(3, 20), f32(3, 5)], attrs: {} }],
});

/** Inputs gates, c, gradients of h and of next; outputs gradients of gates and of c. */
export const lstmCellGradOp = defineOp({
  name: "lstm_cell_grad",
  infer: ([gates, c]) => [
    { shape: gates!.shape, dtype: "f32" },
    { shape: c!.shape, dtype: "f32" },
  ],
  interpret({ inputs: [gates, c, gh, gnext], outputs: [dgates, dc], inputSpecs }) {
    const buffers = { gates: gates!, c: c!, gh: gh!, gnext: gnext!, dgates: dgates!, dc: dc! };
    lstmCellGrad.reference(buffers, dims(inputSpecs[1]!), {});
  },
  lower(call) {
    const [gates, c, gh, gnext] = [call.in(0), call.in(1), call.in(2), call.in(3)];
    const buffers = { gates, c, gh, gnext, dgates: call.out(0), dc: call.out(1) };
    call.run(lstmCellGrad, {}, dims(call.inputs[1]!), buffers);
  },
  cases: [{ name: "rows", inputs: [f32(3, 20), f32(3, 5), f32(3, 5), f32(3, 5)], attrs: {} }],
});

/**
 * next = f c + i g and h = o tanh(next), where i, f, o are sigmoid and g is tanh of their quarter of the gates, in torch's order i, f, g, o.
 * gates: [rows, 4 hidden]; c, h, next: [rows, hidden]. Throws ShapeError.
 */
export function lstmCell(gates: Tensor, c: Tensor): { readonly h: Tensor; readonly next: Tensor } {
  const [h, next] = gates.graph.apply(lstmCellOp, [gates, c], {});
  return { h: h!, next: next! };
}
