/** Matrix product. The second operand may be a frozen weight in any storage. */
import {
  chooseTile,
  erf,
  matmul as matmulKernel,
  type Activation,
  type MatmulStatics,
  type WeightType,
} from "@graft/kernels";
import { ShapeError, StackError } from "../errors/index.ts";
import { sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp, type LowerCall, type Ref } from "../graph/op.ts";
import { f32, quantized } from "../graph/op-case.ts";
import { weightBuffers } from "./_weight.ts";
import { groupedMatmulOp } from "./grouped.ts";
import { reshape } from "./reshape.ts";

export interface MatmulAttrs extends Record<string, unknown> {
  /** a is stored [k, m]. */
  transA: boolean;
  /** b is stored [n, k], as nn.Linear stores its weight. */
  transB: boolean;
  scale: number;
  /** Epilogue, set by the fusion pass: then inputs are a, b, (bias), (residual) and the node has no gradient of its own. */
  hasBias?: boolean;
  activation?: Activation;
  hasResidual?: boolean;
}

const rowsOf = (t: Spec) => sizeOf(t.shape.slice(0, -1));
const lastOf = (t: Spec) => t.shape.at(-1)!;

function sizes(a: Spec, b: Spec, { transA, transB }: MatmulAttrs): { m: number; n: number; k: number } {
  const [m, k] = transA ? [lastOf(a), rowsOf(a)] : [rowsOf(a), lastOf(a)];
  const [n, kB] = transB ? [b.shape[0]!, b.shape[1]!] : [b.shape[1]!, b.shape[0]!];
  if (b.shape.length !== 2 || k !== kB) {
    const mark = (t: Spec, trans: boolean) => `[${t.shape}]${trans ? " transposed" : ""}`;
    throw new ShapeError(`matmul: inner sizes differ, a is ${mark(a, transA)}, b is ${mark(b, transB)}`);
  }
  return { m, n, k };
}

export const matmulOp = defineOp<MatmulAttrs>({
  name: "matmul",
  infer([a, b], attrs) {
    const { m, n } = sizes(a!, b!, attrs);
    return [{ shape: attrs.transA ? [m, n] : [...a!.shape.slice(0, -1), n], dtype: "f32" }];
  },
  interpret({ inputs, outputs: [y], inputSpecs, attrs }) {
    const [a, b] = inputs;
    const { m, n, k } = sizes(inputSpecs[0]!, inputSpecs[1]!, attrs);
    const bias = attrs.hasBias ? inputs[2] : undefined;
    const residual = attrs.hasResidual ? inputs.at(-1) : undefined;
    const [ai, ak] = attrs.transA ? [1, m] : [k, 1];
    const [bk, bj] = attrs.transB ? [1, k] : [n, 1];
    const activate = hostActivations[attrs.activation ?? "none"];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let x = 0; x < k; x++) sum += a![i * ai + x * ak]! * b![x * bk + j * bj]!;
        y![i * n + j] = activate(sum * attrs.scale + (bias?.[j] ?? 0)) + (residual?.[i * n + j] ?? 0);
      }
    }
  },
  grad({ inputs: [a, b], grads: [g], needs, attrs: { transA, transB, scale } }) {
    return [
      needs[0]
        ? transA
          ? matmul(b!, g!, { transA: transB, transB: true, scale })
          : matmul(g!, b!, { transB: !transB, scale })
        : undefined,
      needs[1]
        ? transB
          ? matmul(flat(g!), flat(a!), { transA: true, transB: transA, scale })
          : matmul(flat(a!), flat(g!), { transA: !transA, scale })
        : undefined,
    ];
  },
  absorbAdd: (attrs) => (attrs.hasResidual ? undefined : { ...attrs, hasResidual: true }),
  lower(call) {
    const [a, b] = call.inputs;
    const { m, n, k } = sizes(a!, b!, call.attrs);
    if (a!.dtype !== "f32") throw new ShapeError(`matmul: a must be f32, is ${a!.dtype}`);
    const parts = call.parts(1, call.attrs.transB ? 1 : 2);
    const residual = call.attrs.hasResidual ? call.in(call.inputs.length - 1) : undefined;
    if (parts.length > 1 && call.attrs.hasBias)
      throw new ShapeError("matmul: a bias on a weight that is split by rows");
    if (call.attrs.transB) {
      // Rows of b are columns of y.
      for (const { ref, begin, end } of parts) {
        runMatmul(
          call,
          { m, n: end - begin, k, b: ref, bBegin: begin, y: call.out(0), yColumns: n, yOffset: begin, aOffset: 0 },
          residual,
        );
      }
      return;
    }
    // Rows of b are steps of k: each part adds to the sum of those before it.
    let sum = residual;
    for (const [i, { ref, begin, end }] of parts.entries()) {
      const y = i === parts.length - 1 ? call.out(0) : call.scratch(m * n * 4);
      runMatmul(call, { m, n, k: end - begin, b: ref, bBegin: begin, y, yColumns: n, yOffset: 0, aOffset: begin }, sum);
      sum = y;
    }
  },
  cases: [
    ...[false, true].flatMap((transA) =>
      [false, true].map((transB) => ({
        name: `${transA ? "aT" : "a"} ${transB ? "bT" : "b"}`,
        inputs: [transA ? f32(6, 5) : f32(5, 6), transB ? f32(7, 6) : f32(6, 7)],
        attrs: { transA, transB, scale: 0.5 },
      })),
    ),
    { name: "leading dims", inputs: [f32(2, 3, 6), f32(4, 6)], attrs: { transA: false, transB: true, scale: 1 } },
    {
      name: "epilogue",
      inputs: [f32(3, 6), f32(4, 6), f32(4), f32(3, 4)],
      attrs: { transA: false, transB: true, scale: 1, hasBias: true, activation: "silu", hasResidual: true },
      gradientOf: [],
    },
    ...(["int8", "int8_columns", "nf4"] as const).flatMap((dtype) =>
      [false, true].flatMap((transB) =>
        [
          [5, 13],
          [128, 64],
        ].map(([rows, columns]) => ({
          name: `${dtype} [${rows}, ${columns}]${transB ? " transposed" : ""}`,
          inputs: [f32(3, transB ? columns! : rows!), quantized(dtype, rows!, columns!)],
          attrs: { transA: false, transB, scale: 1 },
        })),
      ),
    ),
  ],
});

const hostActivations: Record<Activation, (x: number) => number> = {
  none: (x) => x,
  silu: (x) => x / (1 + Math.exp(-x)),
  relu: (x) => Math.max(x, 0),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  tanh: Math.tanh,
};

/** [..., columns] as [rows, columns]. */
function flat(t: Tensor): Tensor {
  return t.shape.length === 2 ? t : reshape(t, [rowsOf(t), lastOf(t)]);
}

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly b: Ref;
  /** The first row of the stored b that `b` holds. */
  readonly bBegin: number;
  readonly y: Ref;
  readonly yColumns: number;
  readonly yOffset: number;
  readonly aOffset: number;
}

function runMatmul(call: LowerCall<MatmulAttrs>, p: Product, residual?: Ref): void {
  const { transA, transB, scale, hasBias = false, activation = "none" } = call.attrs;
  const tile = chooseTile({ ...p, transA, transB, bType: call.inputs[1]!.dtype as WeightType }, call.capabilities);
  const statics: MatmulStatics = {
    transA,
    transB,
    bType: call.inputs[1]!.dtype as WeightType,
    hasBias,
    activation,
    hasResidual: residual !== undefined,
    ...tile,
  };
  const { m, n, k, aOffset, yColumns, yOffset, bBegin } = p;
  const dims = { m, n, k, aColumns: lastOf(call.inputs[0]!), aOffset, yColumns, yOffset, scale, bBegin };
  call.run(matmulKernel, statics, dims, {
    a: call.in(0),
    ...weightBuffers(call, 1, "b", p.b),
    y: p.y,
    ...(hasBias ? { bias: call.in(2) } : {}),
    ...(residual ? { residual } : {}),
  });
}

/**
 * scale * a b. a: [..., k], or [k, m] with transA; b: [k, n], or [n, k] with transB; result [..., n] or [m, n].
 * A stack as b gives each row the product with its own matrix. Throws ShapeError if the inner sizes differ.
 */
export function matmul(a: Tensor, b: Tensor, attrs: Partial<MatmulAttrs> = {}): Tensor {
  const stack = a.graph.stackOf(b);
  if (stack) {
    const { transB = false, scale = 1, ...others } = attrs;
    if (Object.values(others).some(Boolean)) throw new StackError("matmul: a stack takes transB and scale alone");
    return a.graph.apply(groupedMatmulOp, [a, stack.whole, stack.group], { transB, scale })[0]!;
  }
  return a.graph.apply(matmulOp, [a, b], { transA: false, transB: false, scale: 1, ...attrs })[0]!;
}
