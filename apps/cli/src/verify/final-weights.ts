/** What training ended in, against the case's final/KEY. */
import type { AdapterWeights } from "@graft/core/nn";
import { type Case, floats } from "./case.ts";
import type { Recorder } from "./report.ts";
import { toleranceOf } from "./tolerance.ts";

export async function recordFinalWeights(kase: Case, weights: AdapterWeights, recorder: Recorder): Promise<void> {
  const tolerance = toleranceOf(kase, "final_weights");
  const values = await weights.read();
  for (const { key } of weights.adapter.parameters.filter((p) => p.trainable))
    recorder.floats("final_weights", `final/${key}`, values.get(key)!, floats(kase.tensors, `final/${key}`), tolerance);
}
