import { defineBlockBottleneck } from "./_block-bottleneck.ts";

/** y + s up(act(down(y))) after attention and after the MLP (Houlsby et al. 2019, arXiv:1902.00751, figure 2; AdapterHub's double_seq_bn). */
export const houlsby = defineBlockBottleneck({
  name: "houlsby",
  peftType: "HOULSBY",
  isParallel: false,
  defaults: { non_linearity: "swish" },
});
