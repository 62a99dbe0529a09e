import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chooseTile, type Kernel, matmul, openDevice, PLAIN_MATMUL, tileKey } from "../src/index.ts";

test("what was tried is kept, used and read again; a damaged file is made anew", async () => {
  const cacheDir = mkdtempSync(join(tmpdir(), "tuning-"));
  const problem = { m: 4, n: 24, k: 16, transB: true };
  const call = (device: { capabilities: Parameters<typeof chooseTile>[1] }) => ({
    kernel: matmul as unknown as Kernel,
    statics: {
      ...PLAIN_MATMUL,
      ...chooseTile(problem, device.capabilities),
    },
    dims: { m: 4, n: 24, k: 16, aColumns: 16, aOffset: 0, yColumns: 24, yOffset: 0, scale: 1, bBegin: 0 },
  });
  const first = await openDevice({ tuning: { cacheDir } });
  const live = first.liveBuffers;
  expect(await first.tuner!.tune([call(first)])).toBe(true);
  expect(await first.tuner!.tune([call(first)])).toBe(false);
  expect(first.liveBuffers).toBe(live);
  const tile = chooseTile(problem, first.capabilities);
  await first.close();

  const [name] = readdirSync(cacheDir);
  const path = join(cacheDir, name!);
  const stored = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  expect(Object.values(stored)).toEqual([tile]);

  const second = await openDevice({ tuning: { cacheDir } });
  expect(await second.tuner!.tune([call(second)])).toBe(false);
  await second.close();

  writeFileSync(path, '{"4x24x16 a bT f32": {"variant": "nonsense"}, ');
  const third = await openDevice({ tuning: { cacheDir } });
  expect(third.capabilities.tiles.size).toBe(0);
  await third.close();

  const plain = await openDevice();
  expect(plain.tuner).toBeUndefined();
  await plain.close();
});

test.each(["int8", "nf4"] as const)(
  "products with %s weights are tuned as their own, with tiles that fit them",
  async (bType) => {
    const device = await openDevice({ tuning: { cacheDir: mkdtempSync(join(tmpdir(), "tuning-")) } });
    const problem = { m: 1, n: 64, k: 128, transB: true, bType };
    const tuned = {
      kernel: matmul as unknown as Kernel,
      statics: { ...PLAIN_MATMUL, bType, ...chooseTile(problem, device.capabilities) },
      dims: { m: 1, n: 64, k: 128, aColumns: 128, aOffset: 0, yColumns: 64, yOffset: 0, scale: 1, bBegin: 0 },
    };
    const live = device.liveBuffers;
    expect(await device.tuner!.tune([tuned])).toBe(true);
    expect(device.liveBuffers).toBe(live);
    expect([...device.capabilities.tiles.keys()]).toEqual([tileKey(problem)]);
    const { wide, alignedBlocks } = chooseTile(problem, device.capabilities);
    expect(alignedBlocks).toBe(wide && bType === "nf4");
    await device.close();
  },
  120_000,
);
