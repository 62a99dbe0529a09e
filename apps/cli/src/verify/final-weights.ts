/** What training ended in, against the case's final/KEY. */
import type { AdapterWeights } from "@graft/core/nn";
import { type Case, floats } from "./case.ts";
import type { Recorder } from "./report.ts";
import { toleranceOf } from "./tolerance.ts";

export async function recordFinalWeights(kase: Case, weights: AdapterWeights, recorder: Recorder): Promise<void> {
  const tolerance = toleranceOf(kase, "final_weights");
  for (const [key, got] of await weights.read())
    recorder.floats("final_weights", `final/${key}`, got, floats(kase.tensors, `final/${key}`), tolerance);
}
