/** Lowering of elementwise ops of two tensors. */
import { binary, type BinaryName, isWide } from "@graft/kernels";
import { sizeOf } from "../graph/graph.ts";
import type { LowerCall } from "../graph/op.ts";

/** y = fn(first input, second input). */
export function runBinary(call: LowerCall, fn: BinaryName): void {
  const count = sizeOf(call.outputs[0]!.shape);
  call.run(binary, { fn, wide: isWide(count) }, { count }, { a: call.in(0), b: call.in(1), y: call.out(0) });
}
