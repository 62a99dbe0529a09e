import { afterAll, beforeAll, expect, test } from "bun:test";
import { baseOf, loadAdapter, saveAdapter } from "@graft/adapters";
import { openSafetensors, toFloat32 } from "@graft/core/io";
import { loadBaseModel } from "@graft/core/models";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shared } from "./shared.ts";

let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.close());

const golden = shared("golden");

for (const name of [
  "peft-lora-llama-gqa",
  "peft-dora-llama-gqa",
  "peft-ia3-llama-gqa",
  "peft-vera-llama-gqa",
  "peft-prefix-llama-gqa",
]) {
  test.skipIf(golden === undefined)(`${name}: read and written again it has PEFT's own bytes`, async () => {
    const model = loadBaseModel(device, join(golden!, "base/llama-gqa"));
    const base = baseOf(model);
    const from = join(golden!, "saved", name);
    const to = join(mkdtempSync(join(tmpdir(), "saved-")), name);
    await saveAdapter(to, loadAdapter(from, base), base);
    for (const file of ["adapter_model.safetensors", "adapter_config.json"]) {
      expect(readFileSync(join(to, file)).equals(readFileSync(join(from, file)))).toBe(true);
    }
    model.destroy();
  });
}

const pickles = [
  ["lla-lora-llama-mha", "lla-lora-default", 8],
  ["lla-bottleneck-llama-mha", "lla-adapterh-tanh-s1", 12],
  ["lla-prefix-llama-mha", "lla-prefix", 1],
] as const;
for (const [name, id, count] of pickles) {
  test.skipIf(golden === undefined)(
    `the LLM-Adapters fork's pickle ${name} reads, with the values of its case, and stays the same once it is safetensors`,
    async () => {
      const model = loadBaseModel(device, join(golden!, "base/llama-mha"));
      const base = baseOf(model);
      const adapter = loadAdapter(join(golden!, "saved", name), base);
      expect(adapter.bound.parameters.length).toBe(count);
      const kase = openSafetensors(join(golden!, `adapters/llama-mha/${id}/tensors.safetensors`));
      for (const [key, got] of adapter.values) expect(got).toEqual(toFloat32(kase.read(`init/${key}`), "F32", key));
      kase.close();
      const [first, second] = ["1", "2"].map((n) => join(mkdtempSync(join(tmpdir(), "saved-")), n));
      await saveAdapter(first!, adapter, base);
      await saveAdapter(second!, loadAdapter(first!, base), base);
      for (const file of ["adapter_model.safetensors", "adapter_config.json"])
        expect(readFileSync(join(second!, file)).equals(readFileSync(join(first!, file)))).toBe(true);
      model.destroy();
    },
  );
}
