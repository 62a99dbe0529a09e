import { defineLinearBottleneck, seriesPlacement } from "./_linear-bottleneck.ts";

/** AdapterP: the series adapter at the MLP's output alone (Hu et al. 2023, arXiv:2304.01933, after Pfeiffer et al. 2020, arXiv:2005.00247). Other targets are those of `series`. */
export const adapterp = defineLinearBottleneck({
  name: "adapterp",
  matches: (config) => !config.use_parallel_adapter && config.use_adapterp,
  trainingDefaults: { use_adapterp: true },
  defaultTargets: ({ mlpOut }) => mlpOut,
  placementAt: seriesPlacement,
});
