/** Networks that make a table of virtual tokens: perceptrons and bidirectional LSTMs, with the parameter names of PEFT's modules. */
import type { Tensor } from "@graft/core/graph";
import {
  activation,
  type ActivationName,
  add,
  addColumns,
  concat,
  dropout,
  fill,
  lstmCell,
  matmul,
  slice,
} from "@graft/core/ops";
import { hashText } from "@graft/core/random";
import { constant, normal, type Start, uniform } from "../starts.ts";
import type { EncoderParameter, PromptEncoder } from "./_prompt-learning.ts";

type Find = (key: string) => Tensor;

/** What comes after the embedding: layers applied in turn. x: [n, in]; result [n, out]. */
interface Layer {
  readonly parameters: readonly EncoderParameter[];
  apply(x: Tensor, parameter: Find, seed: Tensor | undefined): Tensor;
}

/** The rows of an embedding [n, dim] through `layers`. */
export function encoderOf(n: number, dim: number, layers: readonly Layer[]): PromptEncoder {
  const embedding = { key: "prompt_encoder.embedding.weight", ...normal(1, [n, dim]) };
  return {
    parameters: [embedding, ...layers.flatMap((layer) => layer.parameters)],
    table: (parameter, seed) => layers.reduce((x, layer) => layer.apply(x, parameter, seed), parameter(embedding.key)),
  };
}

/**
 * Linear layers with `fn` between them, numbered 0, 2, 4, ... under `name` as torch's Sequential numbers them. widths: [in, ..., out].
 * `startsAtZero`: the last one gives zeros at first.
 */
export function perceptron(
  name: string,
  widths: readonly number[],
  fn: ActivationName,
  { startsAtZero = false }: { readonly startsAtZero?: boolean } = {},
): Layer {
  const layers = widths.slice(1).map((outDim, i) => {
    const inDim = widths[i]!;
    const key = `prompt_encoder.${name}.${2 * i}`;
    const isLast = i + 2 === widths.length;
    const start = (shape: readonly number[]): Start =>
      isLast && startsAtZero ? constant(0, shape) : uniform(1 / Math.sqrt(inDim), shape);
    return {
      isLast,
      weight: { key: `${key}.weight`, ...start([outDim, inDim]) },
      bias: { key: `${key}.bias`, ...start([outDim]) },
    };
  });
  return {
    parameters: layers.flatMap(({ weight, bias }) => [weight, bias]),
    apply(x, parameter) {
      let y = x;
      for (const { isLast, weight, bias } of layers) {
        y = addColumns(matmul(y, parameter(weight.key), { transB: true }), parameter(bias.key)); // [n, out]
        if (!isLast) y = activation(fn, y);
      }
      return y;
    },
  };
}

/** The two directions, by the ends of their parameters' names. */
const DIRECTIONS = ["", "_reverse"] as const;

/** torch's bidirectional LSTM under `name`: [n, inDim] to [n, 2 hidden], forward columns first. Dropout `p` between its layers. */
export function bidirectionalLstm(
  name: string,
  sizes: { readonly inDim: number; readonly hidden: number; readonly layers: number },
  p: number,
): Layer {
  const { inDim, hidden, layers } = sizes;
  const keyOf = (part: string, layer: number, direction: string) =>
    `prompt_encoder.${name}.${part}_l${layer}${direction}`;
  const specs = Array.from({ length: layers }, (_, layer) => layer).flatMap((layer) =>
    DIRECTIONS.flatMap((direction) => {
      const width = layer === 0 ? inDim : 2 * hidden;
      const shapes = {
        weight_ih: [4 * hidden, width],
        weight_hh: [4 * hidden, hidden],
        bias_ih: [4 * hidden],
        bias_hh: [4 * hidden],
      };
      return Object.entries(shapes).map(([part, shape]) => ({
        key: keyOf(part, layer, direction),
        ...uniform(1 / Math.sqrt(hidden), shape),
      }));
    }),
  );
  return {
    parameters: specs,
    apply(x, parameter, seed) {
      let y = x;
      for (let layer = 0; layer < layers; layer++) {
        const [forward, backward] = DIRECTIONS.map((direction) =>
          recur(y, (part) => parameter(keyOf(part, layer, direction)), direction === "_reverse"),
        );
        y = concat([forward!, backward!], 1); // [n, 2 hidden]
        if (seed && p > 0 && layer + 1 < layers) y = dropout(y, seed, { p, stream: hashText(`${name}.${layer}`) });
      }
      return y;
    },
  };
}

/** One direction of one layer: [n, in] to [n, hidden]. The part of the gates that does not wait for the step before is one product. */
function recur(x: Tensor, part: Find, isReversed: boolean): Tensor {
  const n = x.shape[0]!;
  const hidden = part("weight_hh").shape[1]!;
  const inputs = addColumns(
    addColumns(matmul(x, part("weight_ih"), { transB: true }), part("bias_ih")),
    part("bias_hh"),
  ); // [n, 4 hidden]
  let state = { h: fill(x.graph, [1, hidden], 0), next: fill(x.graph, [1, hidden], 0) };
  const steps = Array.from({ length: n }, (_, t) => (isReversed ? n - 1 - t : t)).map((t) => {
    const gates = add(slice(inputs, 0, t, 1), matmul(state.h, part("weight_hh"), { transB: true })); // [1, 4 hidden]
    state = lstmCell(gates, state.next);
    return state.h;
  });
  return concat((isReversed ? steps.toReversed() : steps) as [Tensor, ...Tensor[]], 0);
}
