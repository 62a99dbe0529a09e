/** A whole LoRA training step on a model of random weights, against its bare matrix products. */
import { baseOf, createAdapter } from "@graft/adapters";
import { AdapterWeights } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import { type Candidate, type Device, median, timeKernels } from "@graft/kernels";
import { randomLlama } from "./random-model.ts";

export interface LoraStepResult {
  readonly tokensPerSecond: number;
  readonly stepSeconds: number;
  /** The step's matrix products alone, one dispatch each, timed the same way in the same run. */
  readonly matmulSeconds: number;
  readonly dispatches: number;
  readonly arenaBytes: number;
}

/** hidden 256, 4 layers, 4 heads, ffn 688, vocabulary 4096, r 8 on all seven linears, batch 4 x 128, AdamW, f32. */
export async function benchLoraStep(device: Device, rounds = 5): Promise<LoraStepResult> {
  const random = new Random(1);
  const model = randomLlama(device);
  const adapter = await createAdapter({ peft_type: "LORA", r: 8, target_modules: "all-linear" }, baseOf(model), 1);
  const adapterWeights = new AdapterWeights(device, adapter.bound, adapter.values, "bench");
  const step = new TrainStep(model, adapterWeights, { optimizer: adamwDefaults, maxGradNorm: 1 });
  try {
    const [batch, length] = [4, 128];
    const tokens = batch * length;
    const ids = Int32Array.from({ length: tokens }, () => random.int(4096));
    const micro = {
      batch,
      length,
      ids,
      labels: ids,
      positions: Int32Array.from(ids, (_, i) => i % length),
      segments: new Int32Array(tokens).fill(1),
    };
    const plan = step.planFor(micro);
    const once = async (n: number): Promise<number> => {
      const begin = performance.now();
      await step.micro(micro, { lossScale: 1 / tokens, isFirst: true, seed: 1, step: n });
      await step.update(1e-4, n);
      return (performance.now() - begin) / 1000;
    };
    await once(1);
    const products: Candidate[] = plan.calls
      .filter((call) => call.kernel.name === "matmul")
      .map((call, i) => ({ name: `matmul ${i}`, kernel: call.kernel, statics: call.statics, dims: call.dims }));
    const distinct = new Map(products.map((p) => [JSON.stringify([p.statics, p.dims]), p]));
    const steps: number[] = [];
    for (let i = 0; i < rounds; i++) steps.push(await once(i + 2));
    const timings = await timeKernels(device, [...distinct.values()], { rounds: 3, targetMs: 30 });
    for (let i = 0; i < rounds; i++) steps.push(await once(i + 2 + rounds));
    const secondsOf = new Map([...distinct.keys()].map((key, i) => [key, timings[i]!.seconds]));
    const matmulSeconds = products.reduce((sum, p) => sum + secondsOf.get(JSON.stringify([p.statics, p.dims]))!, 0);
    const stepSeconds = median(steps);
    return {
      tokensPerSecond: tokens / stepSeconds,
      stepSeconds,
      matmulSeconds,
      dispatches: plan.calls.length,
      arenaBytes: plan.bytes.arena,
    };
  } finally {
    step.destroy();
    adapterWeights.destroy();
    model.destroy();
  }
}
