import { defineBlockBottleneck } from "./_block-bottleneck.ts";

/**
 * f(x) + s up(act(down(x))) beside the MLP, x its normed input (He et al. 2021, arXiv:2110.04366, table 1 and section 4.6; AdapterHub's par_bn, which on models
 * with the norm inside the block reads the stream before the norm). The MLP's half of mix-and-match.
 */
export const heParallel = defineBlockBottleneck({
  name: "he-parallel",
  peftType: "HE_PARALLEL",
  isParallel: true,
  defaults: { mh_adapter: false, reduction_factor: 2, scaling: 4 },
});
