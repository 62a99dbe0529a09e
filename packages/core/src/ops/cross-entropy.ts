/** Softmax cross-entropy over a vocabulary, from logits or straight from hidden states. */
import {
  chooseTile,
  crossEntropy as crossEntropyKernel,
  crossEntropyGrad,
  fillKernel,
  matmul as matmulKernel,
  isWide,
  type MatmulStatics,
  type WeightType,
} from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp, type Ref, type Values } from "../graph/op.ts";
import { f32, i32, quantized } from "../graph/op-case.ts";
import { weightBuffers } from "./_weight.ts";
import { mulRows } from "./rows.ts";

function rowLosses(logits: Values, labels: Values, loss: Values, lse: Values): void {
  const columns = logits.length / labels.length;
  crossEntropyKernel.reference({ logits, labels, loss, lse }, { rows: labels.length, columns }, {});
}

/** Inputs logits [rows, vocab], labels [rows]; outputs loss [rows], lse [rows]. */
export const crossEntropyOp = defineOp({
  name: "cross_entropy",
  infer([logits, labels]) {
    if (logits!.shape.length !== 2 || labels!.shape.length !== 1 || labels!.shape[0] !== logits!.shape[0]) {
      throw new ShapeError(`cross_entropy: logits [${logits!.shape}], labels [${labels!.shape}]`);
    }
    const rows: Spec = { shape: labels!.shape, dtype: "f32" };
    return [rows, rows];
  },
  interpret({ inputs: [logits, labels], outputs: [loss, lse] }) {
    rowLosses(logits!, labels!, loss!, lse!);
  },
  grad: ({ inputs: [logits, labels], outputs: [, lse], grads: [g] }) => [
    logits!.graph.apply(crossEntropyGradOp, [logits!, labels!, lse!, g!], {})[0]!,
  ],
  lower(call) {
    const [rows, columns] = call.inputs[0]!.shape as [number, number];
    const buffers = { logits: call.in(0), labels: call.in(1), loss: call.out(0), lse: call.out(1) };
    call.run(crossEntropyKernel, {}, { rows, columns }, buffers);
  },
  cases: [
    {
      name: "ignored labels",
      inputs: [f32(5, 11), i32(5)],
      attrs: {},
      fill: { 1: (i) => (i === 2 ? -100 : i * 2) },
      gradientOf: [0],
    },
  ],
});

export const crossEntropyGradOp = defineOp({
  name: "cross_entropy_grad",
  infer: ([logits]) => [{ shape: logits!.shape, dtype: "f32" }],
  interpret({ inputs: [logits, labels, lse, g], outputs: [dlogits], inputSpecs }) {
    const [rows, columns] = inputSpecs[0]!.shape as [number, number];
    crossEntropyGrad.reference(
      { logits: logits!, labels: labels!, lse: lse!, g: g!, dlogits: dlogits! },
      { rows, columns },
      { wide: false },
    );
  },
  lower(call) {
    const [rows, columns] = call.inputs[0]!.shape as [number, number];
    const buffers = { logits: call.in(0), labels: call.in(1), lse: call.in(2), g: call.in(3), dlogits: call.out(0) };
    call.run(crossEntropyGrad, { wide: isWide(columns) }, { rows, columns }, buffers);
  },
  cases: [
    { name: "small", inputs: [f32(3, 5), i32(3), f32(3), f32(3)], attrs: {}, fill: { 1: (i) => i - 1, 2: () => 2 } },
  ],
});

/** Rows of logits that exist at once: memory is chunk * vocab instead of tokens * vocab. */
const CHUNK_ROWS = 128;

/**
 * Loss of logits = x w^T without ever holding all of them: rows are taken CHUNK_ROWS at a time and the gradient for x is made on the way
 * (as Liger-Kernel's fused linear cross-entropy does; Hsu et al. 2024, arXiv:2410.10989, section 3.2). w must be frozen.
 * Inputs x [rows, hidden], w [vocab, hidden], labels [rows]; outputs loss [rows], dx [rows, hidden] for an upstream gradient of 1.
 */
export const linearCrossEntropyOp = defineOp({
  name: "linear_cross_entropy",
  infer([x, w, labels]) {
    if (x!.shape.length !== 2 || w!.shape[1] !== x!.shape[1] || labels!.shape[0] !== x!.shape[0]) {
      throw new ShapeError(`linear_cross_entropy: x [${x!.shape}], w [${w!.shape}], labels [${labels!.shape}]`);
    }
    return [
      { shape: labels!.shape, dtype: "f32" },
      { shape: x!.shape, dtype: "f32" },
    ];
  },
  interpret({ inputs: [x, w, labels], outputs: [loss, dx], inputSpecs }) {
    const [rows, hidden] = inputSpecs[0]!.shape as [number, number];
    const vocab = inputSpecs[1]!.shape[0]!;
    const logits = new Float64Array(rows * vocab);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < vocab; c++) {
        for (let h = 0; h < hidden; h++) logits[r * vocab + c]! += x![r * hidden + h]! * w![c * hidden + h]!;
      }
    }
    const lse = new Float64Array(rows);
    rowLosses(logits, labels!, loss!, lse);
    const dlogits = new Float64Array(rows * vocab);
    const g = new Float64Array(rows).fill(1);
    crossEntropyGrad.reference({ logits, labels: labels!, lse, g, dlogits }, { rows, columns: vocab }, { wide: false });
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < vocab; c++) {
        for (let h = 0; h < hidden; h++) dx![r * hidden + h]! += dlogits[r * vocab + c]! * w![c * hidden + h]!;
      }
    }
  },
  grad({ inputs: [x], outputs: [, dx], grads: [g], needs }) {
    if (needs[1]) throw new ShapeError("linear_cross_entropy: the weight is trainable, use matmul and cross_entropy");
    return [needs[0] && x ? mulRows(dx!, g!) : undefined];
  },
  lower(call) {
    const [rows, hidden] = call.inputs[0]!.shape as [number, number];
    const vocab = call.inputs[1]!.shape[0]!;
    const bType = call.inputs[1]!.dtype as WeightType;
    const chunk = Math.min(rows, CHUNK_ROWS);
    const logits = call.scratch(chunk * vocab * 4);
    const dlogits = call.scratch(chunk * vocab * 4);
    const lse = call.scratch(rows * 4);
    const ones = call.scratch(chunk * 4);
    call.run(fillKernel, {}, { count: chunk, value: 1 }, { y: ones });
    const parts = call.parts(1);
    const product = (m: number, n: number, k: number, transB: boolean, hasResidual: boolean): MatmulStatics => ({
      transA: false,
      transB,
      bType,
      hasBias: false,
      activation: "none",
      hasResidual,
      ...chooseTile({ m, n, k, transB, bType }, call.capabilities),
    });
    for (let begin = 0; begin < rows; begin += chunk) {
      const m = Math.min(chunk, rows - begin);
      const window = (ref: Ref, width: number): Ref => ({
        ...ref,
        offset: ref.offset + begin * width * 4,
        size: m * width * 4,
      });
      const x = window(call.in(0), hidden);
      for (const part of parts) {
        const n = part.end - part.begin;
        const dims = {
          m,
          n,
          k: hidden,
          aColumns: hidden,
          aOffset: 0,
          yColumns: vocab,
          yOffset: part.begin,
          scale: 1,
          bBegin: part.begin,
        };
        call.run(matmulKernel, product(m, n, hidden, true, false), dims, {
          a: x,
          ...weightBuffers(call, 1, "b", part.ref),
          y: logits,
        });
      }
      const rowsHere = { logits, labels: window(call.in(2), 1), lse: window(lse, 1) };
      call.run(crossEntropyKernel, {}, { rows: m, columns: vocab }, { ...rowsHere, loss: window(call.out(0), 1) });
      call.run(
        crossEntropyGrad,
        { wide: isWide(vocab) },
        { rows: m, columns: vocab },
        { ...rowsHere, g: ones, dlogits },
      );
      let sum: Ref | undefined;
      for (const [i, part] of parts.entries()) {
        const y = i === parts.length - 1 ? window(call.out(1), hidden) : call.scratch(m * hidden * 4);
        const dims = {
          m,
          n: hidden,
          k: part.end - part.begin,
          aColumns: vocab,
          aOffset: part.begin,
          yColumns: hidden,
          yOffset: 0,
          scale: 1,
          bBegin: part.begin,
        };
        call.run(matmulKernel, product(m, hidden, part.end - part.begin, false, sum !== undefined), dims, {
          a: dlogits,
          ...weightBuffers(call, 1, "b", part.ref),
          y,
          ...(sum ? { residual: sum } : {}),
        });
        sum = y;
      }
    }
  },
  cases: [
    {
      name: "ignored labels",
      inputs: [f32(5, 4), f32(9, 4), i32(5)],
      attrs: {},
      fill: { 2: (i) => (i === 2 ? -100 : i * 2) },
      gradientOf: [0],
    },
    {
      name: "int8",
      inputs: [f32(5, 4), quantized("int8", 9, 4), i32(5)],
      attrs: {},
      fill: { 2: (i) => i * 2 - 1 },
      gradientOf: [0],
    },
    {
      name: "two chunks",
      inputs: [f32(CHUNK_ROWS + 4, 4), f32(5, 4), i32(CHUNK_ROWS + 4)],
      attrs: {},
      fill: { 2: (i) => i % 5 },
      gradientOf: [0],
    },
  ],
});

/** Per-row loss in nats: -ln softmax(logits)[label], 0 where the label is negative. logits: [rows, vocab]; labels: [rows] i32. */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  return logits.graph.apply(crossEntropyOp, [logits, labels], {})[0]!;
}

/** The same of x w^T with frozen w, without the logits in memory. x: [rows, hidden]; w: [vocab, hidden]; labels: [rows] i32. */
export function linearCrossEntropy(x: Tensor, w: Tensor, labels: Tensor): Tensor {
  return x.graph.apply(linearCrossEntropyOp, [x, w, labels], {})[0]!;
}
