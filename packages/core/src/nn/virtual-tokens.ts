/** Virtual tokens: rows that an adapter puts before every sequence. In `ids` virtual token v is -(v + 1), so that no table of the base has a row for it (docs/decisions/0009-virtual-tokens.md). */
import type { Tensor } from "../graph/graph.ts";
import { affineIds } from "../ops/index.ts";
import type { Adapter } from "./adapter.ts";

/** Ids of what stands before a sequence under an adapter; none without one. */
export function virtualIdsOf(adapter: Adapter | undefined): number[] {
  return Array.from({ length: adapter?.virtualTokens ?? 0 }, (_, v) => -(v + 1));
}

/** v for virtual token v, negative for a token of the vocabulary: rows of the adapter's own table. ids: [tokens] i32. */
export function virtualRows(ids: Tensor): Tensor {
  return affineIds(ids, { scale: -1, offset: -1 });
}
