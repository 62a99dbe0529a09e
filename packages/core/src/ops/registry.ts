/** Every op. The conformance suite runs over this list. */
import type { Op } from "../graph/op.ts";
import { addOp } from "./add.ts";
import { affineIdsOp } from "./affine-ids.ts";
import { attentionDeltaOp, attentionGradKeyOp, attentionGradQueryOp, attentionOp } from "./attention.ts";
import { columnwiseOp, sumRowsOp } from "./columns.ts";
import { concatOp } from "./concat.ts";
import { crossEntropyGradOp, crossEntropyOp, linearCrossEntropyOp } from "./cross-entropy.ts";
import { dropoutOp } from "./dropout.ts";
import { einsumOp } from "./einsum.ts";
import { embeddingGradOp, embeddingOp } from "./embedding.ts";
import { fillOp } from "./fill.ts";
import { groupedColumnwiseOp, groupedMatmulOp } from "./grouped.ts";
import { l2NormGradOp, l2NormOp } from "./l2-norm.ts";
import { lstmCellGradOp, lstmCellOp } from "./lstm-cell.ts";
import { matmulOp } from "./matmul.ts";
import { inverseRowNormOp, transposeOp } from "./matrix.ts";
import { mulOp, swigluGradOp, swigluOp } from "./mul.ts";
import { normGradOp, normOp, normWeightGradOp } from "./norm.ts";
import { accumulateOp, adamwOp, globalNormOp } from "./optimizer.ts";
import { cacheWriteOp, pagedAttentionOp } from "./paged-attention.ts";
import { reshapeOp } from "./reshape.ts";
import { ropeOp } from "./rope.ts";
import { mulRowsOp, scaledSumOp, spreadOp } from "./rows.ts";
import { sampleOp } from "./sample.ts";
import { windowOp } from "./slice.ts";
import { selectRowsOp } from "./select-rows.ts";
import { inverseOp, limitRowNormOp, skewGradOp, skewOp } from "./small-matrices.ts";
import { softmaxGradOp, softmaxOp } from "./softmax.ts";
import { swapAxesOp } from "./swap-axes.ts";
import { targetLogprobOp } from "./target-logprob.ts";
import { activationGradOp, unaryOp } from "./unary.ts";

export const ops: readonly Op[] = [
  accumulateOp,
  activationGradOp,
  adamwOp,
  addOp,
  affineIdsOp,
  attentionDeltaOp,
  attentionGradKeyOp,
  attentionGradQueryOp,
  attentionOp,
  cacheWriteOp,
  columnwiseOp,
  concatOp,
  crossEntropyGradOp,
  crossEntropyOp,
  dropoutOp,
  einsumOp,
  embeddingGradOp,
  embeddingOp,
  fillOp,
  globalNormOp,
  groupedColumnwiseOp,
  groupedMatmulOp,
  inverseOp,
  inverseRowNormOp,
  l2NormGradOp,
  l2NormOp,
  limitRowNormOp,
  linearCrossEntropyOp,
  lstmCellGradOp,
  lstmCellOp,
  matmulOp,
  mulOp,
  mulRowsOp,
  normGradOp,
  normOp,
  normWeightGradOp,
  pagedAttentionOp,
  reshapeOp,
  ropeOp,
  sampleOp,
  scaledSumOp,
  selectRowsOp,
  skewGradOp,
  skewOp,
  softmaxGradOp,
  softmaxOp,
  spreadOp,
  sumRowsOp,
  swapAxesOp,
  swigluGradOp,
  swigluOp,
  targetLogprobOp,
  transposeOp,
  unaryOp,
  windowOp,
];
