/** Virtual tokens that are embeddings: what they do in a model. */
import type { Tensor } from "@graft/core/graph";
import { type Hooks, virtualRows } from "@graft/core/nn";
import { add, embedding } from "@graft/core/ops";

/** Rows of `table` [n, columns] where the embedding `site` is asked for virtual tokens, for which it has zeros. */
export function embeddingHooks(site: string, table: Tensor): Hooks {
  return {
    embedding(own, ids, f) {
      if (own.name !== site) return f(ids);
      return add(f(ids), embedding(table, virtualRows(ids))); // [tokens, columns]
    },
  };
}
