/** Every kernel. One line each; the conformance suite and `graft bench` run over this list. */
import type { Kernel } from "./kernel.ts";
import { affineIds } from "./kernels/affine-ids.ts";
import { attention, attentionDelta, attentionGradKey, attentionGradQuery } from "./kernels/attention.ts";
import { binary } from "./kernels/binary.ts";
import { columnwise, rowwise, scaledSum, spread, sumRows } from "./kernels/columns.ts";
import { crossEntropy, crossEntropyGrad } from "./kernels/cross-entropy.ts";
import { dropout } from "./kernels/dropout.ts";
import { einsum } from "./kernels/einsum.ts";
import { embedding, embeddingGrad } from "./kernels/embedding.ts";
import { fillKernel } from "./kernels/fill.ts";
import { groupedColumnwise, groupedMatmul } from "./kernels/grouped.ts";
import { inverse } from "./kernels/inverse.ts";
import { l2Norm, l2NormGrad } from "./kernels/l2-norm.ts";
import { limitRowNorm } from "./kernels/limit-row-norm.ts";
import { lstmCell, lstmCellGrad } from "./kernels/lstm-cell.ts";
import { matmul } from "./kernels/matmul.ts";
import { fmaKernel } from "./measure.ts";
import { inverseRowNormKernel, transposeKernel } from "./kernels/matrix.ts";
import { norm, normGrad, normWeightGrad } from "./kernels/norm.ts";
import { accumulate, adamw, clipFactor, sumSquares } from "./kernels/optimizer.ts";
import { cacheWrite, pagedAttention } from "./kernels/paged-attention.ts";
import { place } from "./kernels/place.ts";
import { rope } from "./kernels/rope.ts";
import { sample } from "./kernels/sample.ts";
import { selectRows } from "./kernels/select-rows.ts";
import { skew, skewGrad } from "./kernels/skew.ts";
import { softmax, softmaxGrad } from "./kernels/softmax.ts";
import { swapAxesKernel } from "./kernels/swap-axes.ts";
import { swigluGrad } from "./kernels/swiglu-grad.ts";
import { targetLogprob } from "./kernels/target-logprob.ts";
import { unary } from "./kernels/unary.ts";
import { windowKernel } from "./kernels/window.ts";

export const kernels: readonly Kernel[] = [
  accumulate,
  adamw,
  affineIds,
  attention,
  attentionDelta,
  attentionGradKey,
  attentionGradQuery,
  binary,
  cacheWrite,
  clipFactor,
  columnwise,
  crossEntropy,
  crossEntropyGrad,
  dropout,
  einsum,
  embedding,
  embeddingGrad,
  fillKernel,
  fmaKernel,
  groupedColumnwise,
  groupedMatmul,
  inverse,
  inverseRowNormKernel,
  l2Norm,
  l2NormGrad,
  limitRowNorm,
  lstmCell,
  lstmCellGrad,
  matmul,
  norm,
  normGrad,
  normWeightGrad,
  pagedAttention,
  place,
  rope,
  rowwise,
  sample,
  scaledSum,
  selectRows,
  skew,
  skewGrad,
  softmax,
  softmaxGrad,
  spread,
  sumRows,
  sumSquares,
  swapAxesKernel,
  swigluGrad,
  targetLogprob,
  transposeKernel,
  unary,
  windowKernel,
];
