/** Attention of single rows against a paged key-value cache, for generation. */
import { cacheWrite as cacheWriteKernel, pagedAttention as pagedAttentionKernel } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32, i32 } from "../graph/op-case.ts";

/** Inputs cache [slots, ...], x [rows, ...], slots [rows] i32: cache[slots[r]] = x[r] where slots[r] >= 0. */
export const cacheWriteOp = defineOp({
  name: "cache_write",
  infer: () => [],
  mutates: [0],
  interpret({ inputs: [cache, x, slots], inputSpecs }) {
    cacheWriteKernel.reference({ cache: cache!, x: x!, slots: slots! }, writeDims(inputSpecs), {});
  },
  lower(call) {
    call.run(cacheWriteKernel, {}, writeDims(call.inputs), { cache: call.in(0), x: call.in(1), slots: call.in(2) });
  },
  cases: [
    {
      name: "a skipped row",
      inputs: [f32(6, 2, 3), f32(3, 2, 3), i32(3)],
      attrs: {},
      fill: { 2: (i) => [4, -1, 0][i]! },
    },
  ],
});

function writeDims([cache, x]: readonly Spec[]) {
  return { rows: x!.shape[0]!, columns: sizeOf(x!.shape.slice(1)), slotCount: cache!.shape[0]! };
}

export interface PagedAttentionAttrs extends Record<string, unknown> {
  scale: number;
  window: number;
  pageSize: number;
}

/** Inputs q [rows, heads, headDim], kCache, vCache [slots, kvHeads, headDim], pages [sequences, maxPages], sequences [rows], positions [rows], and with ALiBi slopes [heads]. */
export const pagedAttentionOp = defineOp<PagedAttentionAttrs>({
  name: "paged_attention",
  infer([q, kCache, vCache, , sequences, positions]) {
    if (
      q!.shape.length !== 3 ||
      `${kCache!.shape}` !== `${vCache!.shape}` ||
      kCache!.shape[2] !== q!.shape[2] ||
      sequences!.shape[0] !== q!.shape[0] ||
      positions!.shape[0] !== q!.shape[0]
    ) {
      throw new ShapeError(
        `paged_attention: q [${q!.shape}], cache [${kCache!.shape}], sequences [${sequences!.shape}], positions [${positions!.shape}]`,
      );
    }
    return [{ shape: q!.shape, dtype: "f32" }];
  },
  interpret({ inputs, outputs: [out], inputSpecs, attrs }) {
    const { statics, dims } = pagedSizes(inputSpecs, attrs);
    pagedAttentionKernel.reference(pagedBuffers(inputs, out!), dims, statics);
  },
  lower(call) {
    const { statics, dims } = pagedSizes(call.inputs, call.attrs);
    const inputs = call.inputs.map((_, i) => call.in(i));
    call.run(pagedAttentionKernel, statics, dims, pagedBuffers(inputs, call.out(0)));
  },
  cases: [
    {
      name: "two sequences",
      inputs: [f32(3, 4, 6), f32(24, 2, 6), f32(24, 2, 6), i32(2, 4), i32(3), i32(3)],
      attrs: { scale: 0.4, window: 0, pageSize: 4 },
      fill: { 3: (i) => [3, 0, 5, -1, 1, 4, -1, -1][i]!, 4: (i) => [0, 0, 1][i]!, 5: (i) => [10, 11, 5][i]! },
    },
    {
      name: "alibi",
      inputs: [f32(2, 3, 6), f32(12, 3, 6), f32(12, 3, 6), i32(1, 3), i32(2), i32(2), f32(3)],
      attrs: { scale: 0.4, window: 0, pageSize: 4 },
      fill: { 3: (i) => [2, 0, 1][i]!, 5: (i) => [9, 2][i]!, 6: (i) => 0.5 ** (i + 1) },
    },
  ],
});

/** The kernel's names for the inputs of the op. */
function pagedBuffers<T>(inputs: readonly T[], out: T) {
  const [q, kCache, vCache, pages, sequences, positions, slopes] = inputs as readonly [T, T, T, T, T, T, T];
  const named = { q, kCache, vCache, pages, sequences, positions, out };
  return (slopes === undefined ? named : { ...named, slopes }) as typeof named & { slopes: T };
}

function pagedSizes(
  [q, kCache, , pages, , , slopes]: readonly Spec[],
  { scale, window, pageSize }: PagedAttentionAttrs,
) {
  const [rows, heads, headDim] = q!.shape as [number, number, number];
  const [sequenceCount, maxPages] = pages!.shape as [number, number];
  const [slotCount, kvHeads] = kCache!.shape as [number, number, number];
  return {
    statics: { headDim, window, pageSize, alibi: slopes !== undefined, group: heads / kvHeads },
    dims: { rows, heads, kvHeads, maxPages, sequenceCount, slotCount, scale },
  };
}

/** cache[slots[r]] = x[r] where slots[r] >= 0, in place. cache must be a param. */
export function cacheWrite(cache: Tensor, x: Tensor, slots: Tensor): void {
  cache.graph.apply(cacheWriteOp, [cache, x, slots], {});
}

export interface PagedRows {
  /** [sequences, maxPages] i32: page of each pageSize positions. */
  readonly pages: Tensor;
  /** [rows] i32. */
  readonly sequences: Tensor;
  /** [rows] i32; negative: the row gives 0. */
  readonly positions: Tensor;
}

/** softmax(scale q k^T) v over positions 0 .. position of the row's own sequence; with slopes [heads], scores lose slope times distance (ALiBi). */
export function pagedAttention(
  q: Tensor,
  kCache: Tensor,
  vCache: Tensor,
  rows: PagedRows,
  { slopes, ...attrs }: { scale: number; window: number; pageSize: number; slopes?: Tensor | undefined },
): Tensor {
  const inputs = [q, kCache, vCache, rows.pages, rows.sequences, rows.positions, ...(slopes ? [slopes] : [])];
  return q.graph.apply(pagedAttentionOp, inputs, attrs)[0]!;
}
