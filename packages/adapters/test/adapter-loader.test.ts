/** PEFT folders in an adapter bank: read on the host, brought to a real device, evicted and brought back. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { AdapterBank, type AdapterLoader, type Version } from "@graft/core/engine";
import { CheckpointError, ConfigError } from "@graft/core/errors";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import type { AdapterWeights } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { type Device, openDevice } from "@graft/kernels";
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import {
  adapterLoader,
  adapterVersion,
  type Base,
  baseOf,
  checkAdapter,
  createAdapter,
  loadAdapter,
  openAdapter,
  saveAdapter,
} from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "adapter-loader-"));
const configs = {
  lora: { peft_type: "LORA", r: 4, target_modules: ["q_proj", "v_proj"], init_lora_weights: false },
  small: { peft_type: "LORA", r: 1, target_modules: ["q_proj"], init_lora_weights: false },
  ia3: { peft_type: "IA3", target_modules: ["k_proj", "down_proj"], feedforward_modules: ["down_proj"] },
  prompt: { peft_type: "PROMPT_TUNING", num_virtual_tokens: 3, task_type: "CAUSAL_LM" },
};
const kinds = Object.keys(configs) as (keyof typeof configs)[];
const pathOf = (name: string): string => join(folder, name);
let device: Device;
let model: BaseModel;
let base: Base;
let loader: AdapterLoader;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
  base = baseOf(model);
  loader = adapterLoader(model, base);
  for (const [seed, name] of kinds.entries())
    await saveAdapter(pathOf(name), await createAdapter(configs[name], base, seed), base);
});
afterAll(async () => {
  model.destroy();
  await device.close();
  rmSync(folder, { recursive: true });
});

function newBank(budgets: { readonly hostBytes: number; readonly deviceBytes: number }) {
  const waiters: (() => void)[] = [];
  const alive = new Set<AdapterWeights>();
  const watched: AdapterLoader = {
    async read(path) {
      const host = await loader.read(path);
      const upload = (): AdapterWeights => {
        const weights = host.upload();
        alive.add(weights);
        return weights;
      };
      return { ...host, upload };
    },
  };
  const bank = new AdapterBank(watched, {
    ...budgets,
    async free(weights) {
      await device.idle();
      weights.destroy();
      alive.delete(weights);
    },
    onReady: () => {
      for (const wake of waiters.splice(0)) wake();
    },
  });
  const enter = async (version: Version): Promise<void> => {
    for (;;) {
      const news = new Promise<void>((resolve) => waiters.push(resolve));
      if (bank.enter(version)) return;
      if (version.error) throw version.error;
      await news;
    }
  };
  /** Bytes of the buffers of all adapters: the device counts what reads them back, too. */
  const bytesOnDevice = (): number =>
    [...alive].flatMap(({ buffers }) => [...buffers.values()]).reduce((sum, { size }) => sum + size, 0);
  return { bank, enter, bytesOnDevice };
}

test("a folder is read and checked without the device; its upload is what openAdapter makes", async () => {
  const before = device.liveBytes;
  for (const name of kinds) {
    const host = await loader.read(pathOf(name));
    expect(device.liveBytes).toBe(before);
    const opened = openAdapter(model, base, pathOf(name));
    expect(host.info).toEqual(opened.info);
    expect(host.info.version).toBe(adapterVersion(pathOf(name)));
    expect(host.info.virtualTokens).toBe(name === "prompt" ? 3 : 0);
    const weights = host.upload();
    expect(device.liveBytes - before).toBe(2 * host.info.bytes);
    expect(await weights.read()).toEqual(await opened.weights.read());
    for (const made of [weights, opened.weights]) made.destroy();
  }
  expect(device.liveBytes).toBe(before);
});

test("a folder that is damaged, of another base or gone is a typed error that names it, and makes no buffer", async () => {
  const before = device.liveBuffers;
  const damaged = (name: string, damage: (path: string) => void): string => {
    cpSync(pathOf("lora"), pathOf(name), { recursive: true });
    damage(pathOf(name));
    return pathOf(name);
  };
  const weights = (path: string) => join(path, "adapter_model.safetensors");
  const config = (path: string) => join(path, "adapter_config.json");
  const cases = [
    [pathOf("nowhere"), CheckpointError, `${pathOf("nowhere")}: no such adapter folder`],
    [damaged("cut", (path) => truncateSync(weights(path), 900)), CheckpointError, pathOf("cut")],
    [damaged("empty", (path) => truncateSync(weights(path), 0)), CheckpointError, pathOf("empty")],
    [damaged("without", (path) => rmSync(weights(path))), CheckpointError, "has neither adapter_model.safetensors nor"],
    [damaged("bare", (path) => rmSync(config(path))), CheckpointError, "it has no adapter_config.json"],
    [damaged("text", (path) => writeFileSync(config(path), "{")), ConfigError, "is not valid JSON"],
    [
      damaged("rank", (path) => writeFileSync(config(path), JSON.stringify({ ...configs.lora, r: 3 }))),
      CheckpointError,
      "this base needs [3,",
    ],
    [
      damaged("folder", (path) => (rmSync(weights(path)), cpSync(pathOf("ia3"), weights(path), { recursive: true }))),
      CheckpointError,
      pathOf("folder"),
    ],
  ] as const;
  for (const [path, type, message] of cases) {
    const reading = loader.read(path);
    await expect(reading).rejects.toThrow(type);
    await expect(reading).rejects.toThrow(message);
  }
  expect(device.liveBuffers).toBe(before);
});

test("files that change while they are read are refused", async () => {
  const path = pathOf("changing");
  cpSync(pathOf("lora"), path, { recursive: true });
  let changes = 1;
  const watched: Base = {
    ...base,
    // Asked for after the weights' file was opened and before it is hashed.
    get sites() {
      if (changes-- > 0) cpSync(pathOf("small"), path, { recursive: true });
      return base.sites;
    },
  };
  await expect(adapterLoader(model, watched).read(path)).rejects.toThrow(CheckpointError);
  const same = adapterLoader(model, watched).read(path);
  expect((await same).info.version).toBe(adapterVersion(pathOf("small")));
});

test("what was evicted and comes back, from RAM or from its folder, has the same bytes", async () => {
  const before = device.liveBytes;
  const { bytes } = (await loader.read(pathOf("lora"))).info; // the largest of them
  // Room for one LoRA on the device; in RAM for one, or for all.
  for (const hostBytes of [bytes, 10 * bytes]) {
    const { bank, enter } = newBank({ hostBytes, deviceBytes: bytes });
    for (const name of kinds) await bank.load(name, pathOf(name));
    expect(device.liveBytes).toBe(before);
    for (const name of [...kinds, ...kinds, "lora"]) {
      const version = bank.hold(name);
      await enter(version);
      expect(await version.weights!.read()).toEqual(loadAdapter(pathOf(name), base).values);
      expect(device.liveBytes - before).toBeLessThanOrEqual(bytes);
      bank.leave(version);
      await bank.release(version);
    }
    const stats = bank.stats();
    expect(stats.evictions).toBeGreaterThan(2);
    expect(stats.reads > 0).toBe(hostBytes === bytes);
    await bank.clear();
    expect(device.liveBytes).toBe(before);
  }
});

test("random requests over real folders: their buffers stay in the budget, and the device comes back to where it began", async () => {
  const before = { bytes: device.liveBytes, buffers: device.liveBuffers };
  const sizes = new Map<string, number>();
  for (const name of kinds) sizes.set(name, (await loader.read(pathOf(name))).info.bytes);
  const deviceBytes = Math.max(...sizes.values()) + Math.min(...sizes.values());
  const { bank, enter, bytesOnDevice } = newBank({ hostBytes: 2 * deviceBytes, deviceBytes });
  const random = new Random(5);
  const kind = () => kinds[random.int(kinds.length)]!;
  const expected = new Map(kinds.map((name) => [adapterVersion(pathOf(name)), loadAdapter(pathOf(name), base).values]));
  const request = async (name: string): Promise<void> => {
    const version = bank.hold(name);
    if (random.int(2) === 0) bank.prefetch(version);
    await enter(version);
    expect(bytesOnDevice()).toBeLessThanOrEqual(deviceBytes);
    expect(await version.weights!.read()).toEqual(expected.get(version.id)!);
    bank.leave(version);
    await bank.release(version);
  };
  const names = ["a", "b", "c"];
  for (const name of names) await bank.load(name, pathOf(kind()));
  const running: Promise<void>[] = [];
  for (let step = 0; step < 150; step++) {
    const name = names[random.int(3)]!;
    if (random.int(4) === 0) {
      if (random.int(2) === 0) await bank.load(name, pathOf(kind()));
      else await bank.remove(name).then(() => bank.load(name, pathOf(kind())));
    }
    running.push(request(name));
    if (running.length > 6) await running.shift();
  }
  await Promise.all(running);
  await bank.clear();
  expect({ bytes: device.liveBytes, buffers: device.liveBuffers }).toEqual(before);
});

test("an adapter that was registered is read at its first request; a damaged one fails it by name until it is loaded again", async () => {
  const { bank, enter } = newBank({ hostBytes: 1e6, deviceBytes: 1e6 });
  const path = pathOf("registered");
  cpSync(pathOf("lora"), path, { recursive: true });
  const { info } = await loader.read(path);
  bank.register({ ...info, name: "math", isPinned: false });
  const file = join(path, "adapter_model.safetensors");
  const bytes = readFileSync(file);
  truncateSync(file, bytes.length - 4);
  const version = bank.hold("math");
  const failed = enter(version);
  await expect(failed).rejects.toThrow(CheckpointError);
  await expect(failed).rejects.toThrow(`adapter "math" at ${path}: cannot be read again: ${file}`);
  writeFileSync(file, bytes);
  await bank.load("math", path);
  await enter(version);
  bank.leave(version);
  await bank.release(version);
  await bank.clear();
});

test("what a folder holds is found without a device, and is what the loader says", async () => {
  for (const name of kinds)
    expect(await checkAdapter(pathOf(name), base)).toEqual((await loader.read(pathOf(name))).info);
  await expect(checkAdapter(pathOf("nothing"), base)).rejects.toThrow("no such adapter folder");
});

test("a folder that is handed in may hold no value that is not finite, and no more of them than memory does", async () => {
  const adapter = await createAdapter(configs.lora, base, 1);
  const [key, values] = [...adapter.values][1]!;
  for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
    values[5] = value;
    await saveAdapter(pathOf("not-finite"), adapter, base);
    await expect(checkAdapter(pathOf("not-finite"), base)).rejects.toThrow(`tensor ${key} has ${value} at 5`);
  }
  // The projections follow from the config: the file has none of them.
  const vera = { peft_type: "VERA", r: 64, target_modules: ["q_proj"], save_projection: false };
  await saveAdapter(pathOf("derived"), await createAdapter(vera, base, 1), base);
  const fileBytes = readFileSync(join(pathOf("derived"), "adapter_model.safetensors")).length;
  const { bytes } = await checkAdapter(pathOf("derived"), base);
  expect(bytes).toBeGreaterThan(4 * fileBytes);
  await expect(checkAdapter(pathOf("derived"), base, bytes - 1)).rejects.toThrow(
    `its values take ${bytes} bytes, this machine takes adapters up to ${bytes - 1}`,
  );
});

test("a pattern that goes back and forth without end is refused after its first module", async () => {
  const slow = { ...configs.lora, target_modules: "(.+)+x" };
  await expect(createAdapter(slow, base, 1)).rejects.toThrow(
    new ConfigError(
      "adapter config: the regular expression ^(?:(.+)+x)$ takes too long to match; write it without nested repetitions",
    ),
  );
});
