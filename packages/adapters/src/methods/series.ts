import { defineLinearBottleneck, seriesPlacement } from "./_linear-bottleneck.ts";

/**
 * Series adapter (AdapterH): W(x + s up(act(down(x)))) at the layers that read the MLP's input, y + s up(act(down(y))) after the one that writes its output, bias included
 * (Hu et al. 2023, arXiv:2304.01933, after Houlsby et al. 2019, arXiv:1902.00751).
 */
export const series = defineLinearBottleneck({
  name: "series",
  matches: (config) => !config.use_parallel_adapter && !config.use_adapterp,
  defaultTargets: ({ mlpIn, mlpOut }) => [...mlpIn, ...mlpOut],
  placementAt: seriesPlacement,
});
