import { defineLinearBottleneck, parallelPlacement } from "./_linear-bottleneck.ts";

/** Parallel adapter at a linear layer: W x + b + s up(act(down(x))) (Hu et al. 2023, arXiv:2304.01933, after He et al. 2021, arXiv:2110.04366). */
export const parallel = defineLinearBottleneck({
  name: "parallel",
  matches: (config) => config.use_parallel_adapter,
  trainingDefaults: { use_parallel_adapter: true },
  defaultTargets: ({ qkv }) => qkv,
  placementAt: parallelPlacement,
});
