/** Handing a stored weight to a kernel. */
import type { LowerCall, Ref } from "../graph/op.ts";

/** Buffers of input `index` under a kernel's binding `name`: the elements of `ref` (default: all of them), and the scales of the whole where its dtype has scales. */
export function weightBuffers(
  call: LowerCall,
  index: number,
  name: string,
  ref: Ref = call.in(index),
): Readonly<Record<string, Ref>> {
  const scales = call.scales(index);
  return { [name]: ref, ...(scales ? { [`${name}_scales`]: scales } : {}) };
}
