/** Batches whose requests have different adapters (AdapterHub's Parallel and BatchSplit), for Generator.generate: one pass serves them all. */
import { ConfigError } from "@graft/core/errors";
import type { IdsRequest } from "@graft/core/generate";
import type { AdapterWeights } from "@graft/core/nn";

/** Every request with every adapter (undefined: none): those of the first request, then those of the next. */
export function parallel(
  requests: readonly IdsRequest[],
  adapters: readonly (AdapterWeights | undefined)[],
): IdsRequest[] {
  return requests.flatMap((request) => adapters.map((adapter) => ({ ...request, adapter })));
}

/** The first `sizes[0]` requests with the first adapter, the next `sizes[1]` with the second. Throws ConfigError if the sizes are not those of the batch. */
export function batchSplit(
  requests: readonly IdsRequest[],
  adapters: readonly (AdapterWeights | undefined)[],
  sizes: readonly number[],
): IdsRequest[] {
  const total = sizes.reduce((a, b) => a + b, 0);
  if (sizes.length !== adapters.length || total !== requests.length)
    throw new ConfigError(
      `batchSplit: ${adapters.length} adapters and ${sizes.length} sizes of ${total} requests in sum, there are ${requests.length}`,
    );
  const owners = sizes.flatMap((size, i) => Array.from({ length: size }, () => adapters[i]));
  return requests.map((request, i) => ({ ...request, adapter: owners[i] }));
}
