import { defineBlockBottleneck } from "./_block-bottleneck.ts";

/** Houlsby's adapters with projections that are sums of Kronecker products, one rule for all (Karimi Mahabadi et al. 2021, arXiv:2106.04647, eq. 5 and 6; AdapterHub's compacter). */
export const compacter = defineBlockBottleneck({
  name: "compacter",
  peftType: "COMPACTER",
  isParallel: false,
  defaults: { phm_layer: true, non_linearity: "gelu", reduction_factor: 32 },
});
