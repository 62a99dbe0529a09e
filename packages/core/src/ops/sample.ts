/** The next token of each row of logits. */
import { sample as sampleKernel, SAMPLE_OPTIONS } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

const dims = (logits: Spec) => ({ rows: logits.shape[0]!, columns: logits.shape[1]! });

/** Inputs: logits [rows, vocab], options [rows, 4]. Outputs: ids [rows] i32, logprobs [rows]. */
export const sampleOp = defineOp({
  name: "sample",
  infer([logits, options]) {
    const [rows] = logits!.shape;
    if (logits!.shape.length !== 2 || `${options!.shape}` !== `${rows},${SAMPLE_OPTIONS}`)
      throw new ShapeError(`sample: logits are [${logits!.shape}], options [${options!.shape}]`);
    return [
      { shape: [rows!], dtype: "i32" },
      { shape: [rows!], dtype: "f32" },
    ];
  },
  interpret({ inputs: [logits, options], outputs: [ids, logprobs], inputSpecs }) {
    const buffers = { logits: logits!, options: options!, ids: ids!, logprobs: logprobs! };
    sampleKernel.reference(buffers, dims(inputSpecs[0]!), {});
  },
  lower(call) {
    const buffers = { logits: call.in(0), options: call.in(1), ids: call.out(0), logprobs: call.out(1) };
    call.run(sampleKernel, {}, dims(call.inputs[0]!), buffers);
  },
  cases: [
    { name: "greedy", inputs: [f32(5, 33), f32(5, SAMPLE_OPTIONS)], attrs: {}, fill: { 1: () => 0 } },
    {
      name: "drawn",
      inputs: [f32(5, 33), f32(5, SAMPLE_OPTIONS)],
      attrs: {},
      fill: { 1: (i) => [0.8, 9, 0.7, 0.41][i % SAMPLE_OPTIONS]! },
    },
  ],
});

/**
 * The next token of each row and ln of its probability under the unmodified logits. logits: [rows, vocab]; options: [rows, 4], temperature (0: greedy), k (0: all),
 * p (1: all) and the uniform draw in [0, 1). Returns ids [rows] i32 (-1 where a logit is NaN) and logprobs [rows].
 */
export function sample(logits: Tensor, options: Tensor): { readonly ids: Tensor; readonly logprobs: Tensor } {
  const [ids, logprobs] = logits.graph.apply(sampleOp, [logits, options], {});
  return { ids: ids!, logprobs: logprobs! };
}
