import { expect, test } from "bun:test";
import { TorchRandom } from "./torch-random.ts";

test("the ten thousandth number of seed 5489 is the one that C++'s standard gives for mt19937", () => {
  const random = new TorchRandom(5489);
  for (let i = 1; i < 10_000; i++) random.uint32();
  expect(random.uint32()).toBe(4123659995);
});

test("uniform_ after manual_seed(7) is torch's to the last bit", () => {
  // torch 2.13: torch.empty(6, 64).uniform_(-b, b, generator=torch.Generator().manual_seed(7)) with b = sqrt(3) * sqrt(2) / sqrt(64)
  const values = new TorchRandom(7).uniform(384, Math.sqrt(3) * (Math.SQRT2 / Math.sqrt(64)));
  expect([...values.slice(0, 4)]).toEqual([
    0.02138560265302658, -0.1844446361064911, 0.09749685972929001, 0.09607528150081635,
  ]);
});
