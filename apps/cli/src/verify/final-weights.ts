/** What training ended in, against the case's final/KEY. */
import type { AdapterWeights } from "@graft/core/nn";
import { type Case, floats, nameIn } from "./case.ts";
import type { Recorder } from "./report.ts";
import { toleranceOf } from "./tolerance.ts";

export async function recordFinalWeights(
  kase: Case,
  weights: AdapterWeights,
  recorder: Recorder,
  aliases?: ReadonlyMap<string, string>,
): Promise<void> {
  const tolerance = toleranceOf(kase, "final_weights");
  const values = await weights.read();
  for (const { key } of weights.adapter.parameters.filter((p) => p.trainable)) {
    const name = nameIn(kase, "final", key, aliases);
    recorder.floats("final_weights", name, values.get(key)!, floats(kase.tensors, name), tolerance);
  }
}
