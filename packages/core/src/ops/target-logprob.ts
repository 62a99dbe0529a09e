/** The log-probability of given tokens under rows of logits. */
import { targetLogprob as targetLogprobKernel } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32, i32 } from "../graph/op-case.ts";

function sizes([logits, rows]: readonly Spec[]) {
  const [rowCount, columns] = logits!.shape as [number, number];
  return { count: rows!.shape[0]!, rowCount, columns };
}

/** Inputs: logits [rowCount, vocab], rows and targets [count] i32. Outputs: logprobs [count], best [count] i32. */
export const targetLogprobOp = defineOp({
  name: "target_logprob",
  infer([logits, rows, targets]) {
    if (logits!.shape.length !== 2 || rows!.shape.length !== 1 || `${rows!.shape}` !== `${targets!.shape}`)
      throw new ShapeError(
        `target_logprob: logits are [${logits!.shape}], rows [${rows!.shape}], targets [${targets!.shape}]`,
      );
    return [
      { shape: rows!.shape, dtype: "f32" },
      { shape: rows!.shape, dtype: "i32" },
    ];
  },
  interpret({ inputs: [logits, rows, targets], outputs: [logprobs, best], inputSpecs }) {
    const buffers = { logits: logits!, rows: rows!, targets: targets!, logprobs: logprobs!, best: best! };
    targetLogprobKernel.reference(buffers, sizes(inputSpecs), {});
  },
  lower(call) {
    const [logits, rows, targets] = [call.in(0), call.in(1), call.in(2)];
    const buffers = { logits, rows, targets, logprobs: call.out(0), best: call.out(1) };
    call.run(targetLogprobKernel, {}, sizes(call.inputs), buffers);
  },
  cases: [
    {
      name: "several targets of one row, and an unused one",
      inputs: [f32(5, 33), i32(7), i32(7)],
      attrs: {},
      fill: { 1: (i) => [4, 0, 0, -1, 2, 4, 1][i]!, 2: (i) => 5 * i },
    },
  ],
});

/**
 * ln softmax(logits[rows[t]])[targets[t]] and the first index of that row's highest logit, -1 where it holds a NaN.
 * logits: [rowCount, vocab]; rows, targets: [count] i32. Returns logprobs [count] and best [count] i32.
 */
export function targetLogprob(
  logits: Tensor,
  rows: Tensor,
  targets: Tensor,
): { readonly logprobs: Tensor; readonly best: Tensor } {
  const [logprobs, best] = logits.graph.apply(targetLogprobOp, [logits, rows, targets], {});
  return { logprobs: logprobs!, best: best! };
}
