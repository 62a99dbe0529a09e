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

for (const [name, of] of [
  ["peft-lora-llama-gqa", "llama-gqa"],
  ["peft-dora-llama-gqa", "llama-gqa"],
  ["peft-ia3-llama-gqa", "llama-gqa"],
  ["peft-vera-llama-gqa", "llama-gqa"],
  ["peft-prefix-llama-gqa", "llama-gqa"],
  ["peft-lora-gpt2", "gpt2"],
] as const) {
  test.skipIf(golden === undefined)(`${name}: read and written again it has PEFT's own bytes`, async () => {
    const model = loadBaseModel(device, join(golden!, "base", of));
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

for (const [method, kase, tensors, of] of [
  ["bottleneck", "lla-adapterh-tanh-s1", 12, "llama-mha"],
  ["lora", "lla-lora-default", 8, "llama-mha"],
  ["lora", "lla-lora-default", 4, "bloom"],
  ["lora", "lla-lora-default", 4, "gpt2"],
  ["prefix", "lla-prefix", 1, "llama-mha"],
] as const) {
  test.skipIf(golden === undefined)(
    `the LLM-Adapters fork's ${method} pickle for ${of} reads, with the values of its case, and is written again as safetensors`,
    async () => {
      const model = loadBaseModel(device, join(golden!, "base", of));
      const base = baseOf(model);
      const folder = join(golden!, `saved/lla-${method}-${of}`);
      const adapter = loadAdapter(folder, base);
      expect(adapter.bound.parameters.length).toBe(tensors);
      const want = openSafetensors(join(golden!, `adapters/${of}/${kase}/tensors.safetensors`));
      for (const [key, got] of adapter.values) expect(got).toEqual(toFloat32(want.read(`init/${key}`), "F32", key));
      want.close();
      const [first, second] = ["1", "2"].map((name) => join(mkdtempSync(join(tmpdir(), "saved-")), name));
      await saveAdapter(first!, adapter, base);
      await saveAdapter(second!, loadAdapter(first!, base), base);
      for (const file of ["adapter_model.safetensors", "adapter_config.json"])
        expect(readFileSync(join(second!, file)).equals(readFileSync(join(first!, file)))).toBe(true);
      expect(readFileSync(join(first!, "adapter_config.json"))).toEqual(
        readFileSync(join(folder, "adapter_config.json")),
      );
      model.destroy();
    },
  );
}
