/** Every kernel. One line each; the conformance suite and `graft bench` run over this list. */
import type { Kernel } from "./kernel.ts";
import { binary } from "./kernels/binary.ts";
import { embedding, embeddingGrad } from "./kernels/embedding.ts";
import { fillKernel } from "./kernels/fill.ts";
import { matmul } from "./kernels/matmul.ts";
import { norm, normGrad, normWeightGrad } from "./kernels/norm.ts";
import { rope } from "./kernels/rope.ts";
import { unary } from "./kernels/unary.ts";

export const kernels: readonly Kernel[] = [
  binary, embedding, embeddingGrad, fillKernel, matmul, norm, normGrad, normWeightGrad, rope, unary,
];
