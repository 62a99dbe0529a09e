import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { openSafetensors } from "@graft/core/io";
import { floats } from "../src/verify/case.ts";
import { verifyCases } from "../src/verify/verify.ts";
import { shared } from "./shared.ts";

let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.close());

const golden = join(import.meta.dir, "golden");

async function failures(path: string, filter?: RegExp): Promise<string[]> {
  const live = device.liveBuffers;
  const failed: string[] = [];
  for await (const report of verifyCases([path], device, { filter })) {
    if (!report.passed)
      failed.push(
        `${report.id}: ${[...report.quantities.filter((q) => !q.passed).map((q) => `${q.quantity} ${q.worst} at ${q.worstAt}`), ...report.skipped].join("; ")}`,
      );
  }
  expect(device.liveBuffers).toBe(live);
  return failed;
}

/** Every case that lies here. */
const paths = [...new Bun.Glob("**/case.json").scanSync(golden)].map(dirname).toSorted();
for (const path of paths) {
  test(`${path} equals the reference`, async () => {
    expect(await failures(join(golden, path))).toEqual([]);
  });
}

/** Names in a case's tensors that are inputs of it, not results. */
const inputs = /(^|\.)(input_ids|attention_mask|labels|position_ids|scores)$|^(init|saved)\//;

for (const path of ["base/llama-gqa", "adapters/llama-gqa/peft-lora-default", "scheduler", "logits_processors"]) {
  test(`${path}: --dump-dir writes every result under the case's own name and shape, near the case's values`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "dump-"));
    for await (const _ of verifyCases([join(golden, path)], device, { dumpDir: folder }));
    const want = openSafetensors(join(golden, path, "tensors.safetensors"));
    const got = openSafetensors(join(folder, `${path}.safetensors`));
    const results = [...want.tensors.keys()].filter((name) => !inputs.test(name));
    expect(results.length).toBeGreaterThan(5);
    expect([...got.tensors.keys()]).toEqual(expect.arrayContaining(results));
    for (const name of results) expect(got.info(name).shape).toEqual(want.info(name).shape);
    // Double precision where the case asks for more digits than f32 has.
    if (path === "scheduler")
      for (const name of results)
        for (const [i, x] of floats(got, name).data.entries())
          expect(Math.abs(x - floats(want, name).data[i]!)).toBeLessThan(1e-15);
    rmSync(folder, { recursive: true });
  });
}

const kit = shared("golden");
test.skipIf(kit === undefined)(
  "every case of the kit equals the reference",
  async () => {
    expect(await failures(kit!)).toEqual([]);
  },
  20 * 60_000,
);

test("a wrong weight is found, and named", async () => {
  const folder = mkdtempSync(join(tmpdir(), "verify-"));
  try {
    cpSync(join(golden, "base/llama-gqa"), folder, { recursive: true });
    const path = join(folder, "model.safetensors");
    const bytes = readFileSync(path);
    const { begin } = openSafetensors(path).info("model.layers.1.mlp.up_proj.weight");
    bytes.writeFloatLE(bytes.readFloatLE(begin) + 0.5, begin);
    writeFileSync(path, bytes);
    const [failed] = await failures(folder);
    expect(failed).toContain("logits");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
