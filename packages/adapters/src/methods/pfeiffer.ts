import { defineBlockBottleneck } from "./_block-bottleneck.ts";

/** y + s up(act(down(y + residual))) after the MLP alone (Pfeiffer et al. 2020, arXiv:2005.00247; AdapterHub's seq_bn). */
export const pfeiffer = defineBlockBottleneck({
  name: "pfeiffer",
  peftType: "PFEIFFER",
  isParallel: false,
  defaults: { mh_adapter: false, original_ln_before: true },
});
