import { expect, test } from "bun:test";
import { loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import { openDevice } from "@graft/kernels";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { baseOf, createAdapter } from "../src/index.ts";

test("constrained OFT stays inside its ball after each step", async () => {
  const device = await openDevice();
  const model = loadBaseModel(device, writeTinyModel(mkdtempSync(join(tmpdir(), "coft-"))));
  const config = { peft_type: "OFT", oft_block_size: 8, coft: true, eps: 0.02, target_modules: ["q_proj"] };
  const { bound, values } = await createAdapter(config, baseOf(model), 1);
  const weights = new AdapterWeights(device, bound, values, "coft");
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
  const ids = Int32Array.of(1, 5, 9, 40);
  const rest = { positions: Int32Array.of(0, 1, 2, 3), segments: new Int32Array(4).fill(1) };
  const batch = { batch: 1, length: 4, ids, labels: Int32Array.of(5, 9, 40, -100), ...rest };
  for (let n = 1; n <= 3; n++) {
    await step.micro(batch, { lossScale: 1 / 3, isFirst: true, seed: 0, step: n });
    await step.update(0.1, n);
    for (const [key, own] of await weights.read()) {
      const blocks = bound.parameters.find((p) => p.key === key)!.shape[0]!;
      for (let b = 0; b < blocks; b++) {
        const row = own.subarray((b * own.length) / blocks, ((b + 1) * own.length) / blocks);
        // |S| counts each of them twice; a step of 0.1 leaves the ball at once.
        expect(Math.sqrt(2) * Math.hypot(...row)).toBeCloseTo(0.02 / Math.sqrt(blocks), 5);
      }
    }
  }
  step.destroy();
  weights.destroy();
  model.destroy();
  await device.close();
}, 60_000);
