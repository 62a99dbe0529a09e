import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CheckpointError } from "../src/errors/index.ts";
import {
  fromBF16,
  fromF16,
  openCheckpoint,
  openSafetensors,
  type TensorData,
  toBF16,
  toF16,
  writeSafetensors,
} from "../src/io/index.ts";
import { Random } from "../src/random/index.ts";

const folder = mkdtempSync(join(tmpdir(), "safetensors-"));
const sample = new Map<string, TensorData>([
  ["b", { dtype: "F32", shape: [2, 3], bytes: new Uint8Array(new Float32Array([1, 2, 3, 4, 5, 6]).buffer) }],
  ["a", { dtype: "F16", shape: [2], bytes: new Uint8Array([0, 60, 0, 64]) }],
  ["empty", { dtype: "I64", shape: [0], bytes: new Uint8Array(0) }],
]);

function written(name: string): string {
  const path = join(folder, name);
  writeSafetensors(path, sample, { format: "pt" });
  return path;
}

test("what is written is read back, and writing it again gives the same bytes", () => {
  const path = written("round.safetensors");
  const file = openSafetensors(path);
  expect(file.metadata).toEqual({ format: "pt" });
  const again = new Map(
    [...file.tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape, bytes: file.read(name) }] as const),
  );
  file.close();
  const second = join(folder, "again.safetensors");
  writeSafetensors(second, again, { format: "pt" });
  expect(readFileSync(second).equals(readFileSync(path))).toBe(true);
});

test("half precision converts as IEEE says, ties to even", () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const value = fromF16(bits);
    if (Number.isNaN(value)) continue;
    if (toF16(value) !== bits) throw new Error(`f16 ${bits.toString(16)} came back as ${toF16(value).toString(16)}`);
    const wide = fromBF16(bits);
    if (!Number.isNaN(wide) && toBF16(wide) !== bits) throw new Error(`bf16 ${bits.toString(16)}`);
  }
  expect(toF16(1 + 2 ** -11)).toBe(toF16(1));
  expect(toF16(1 + 3 * 2 ** -11)).toBe(toF16(1 + 2 ** -9));
  expect(toF16(65520)).toBe(0x7c00);
  expect(toBF16(1 + 2 ** -8)).toBe(toBF16(1));
});

function headered(header: string, data = 24): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + data);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

test("headers that lie are refused, and the file is named", () => {
  const cases: [string, Uint8Array][] = [
    ["short", new Uint8Array(4)],
    ["long header", Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 127, 0)],
    ["no json", headered("{nope")],
    [
      "twice",
      headered(
        '{"x":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"x":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}',
      ),
    ],
    ["dtype", headered('{"x":{"dtype":"F99","shape":[6],"data_offsets":[0,24]}}')],
    ["size", headered('{"x":{"dtype":"F32","shape":[7],"data_offsets":[0,24]}}')],
    ["beyond", headered('{"x":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}')],
    ["gap", headered('{"x":{"dtype":"F32","shape":[5],"data_offsets":[4,24]}}')],
    [
      "overlap",
      headered(
        '{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"y":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}',
      ),
    ],
    ["negative", headered('{"x":{"dtype":"F32","shape":[-6],"data_offsets":[0,24]}}')],
    ["huge", headered('{"x":{"dtype":"F32","shape":[1e300,1e300],"data_offsets":[0,24]}}')],
  ];
  for (const [name, bytes] of cases) {
    const path = join(folder, `${name}.safetensors`);
    writeFileSync(path, bytes);
    expect(() => openSafetensors(path)).toThrow(CheckpointError);
    expect(() => openSafetensors(path)).toThrow(path);
  }
});

test("damaged files give a typed error or the right sizes, never anything else", () => {
  const good = readFileSync(written("fuzz.safetensors"));
  const seed = 20_26;
  const random = new Random(seed);
  const path = join(folder, "damaged.safetensors");
  for (let round = 0; round < 500; round++) {
    let bytes = new Uint8Array(good);
    if (random.int(3) === 0) bytes = bytes.slice(0, random.int(bytes.length));
    else for (let i = 0; i <= random.int(4); i++) bytes[random.int(bytes.length)] = random.int(256);
    writeFileSync(path, bytes);
    try {
      const file = openSafetensors(path);
      for (const [name, info] of file.tensors) expect(file.read(name).length).toBe(info.end - info.begin);
      file.close();
    } catch (error) {
      if (!(error instanceof CheckpointError))
        throw new Error(`seed ${seed}, round ${round}: ${String(error)}`, { cause: error });
    }
  }
});

test("a shard index that leads out of the folder or lies is refused", () => {
  const dir = mkdtempSync(join(tmpdir(), "shards-"));
  writeSafetensors(join(dir, "part-1.safetensors"), sample);
  const index = (map: object) =>
    writeFileSync(join(dir, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  index({ a: "part-1.safetensors", b: "part-1.safetensors" });
  const checkpoint = openCheckpoint(dir);
  expect(checkpoint.info("b").shape).toEqual([2, 3]);
  expect(() => checkpoint.read("c")).toThrow(CheckpointError);
  checkpoint.close();
  index({ a: "../part-1.safetensors" });
  expect(() => openCheckpoint(dir)).toThrow(CheckpointError);
  index({ zzz: "part-1.safetensors" });
  expect(() => openCheckpoint(dir)).toThrow(CheckpointError);
  expect(() => openCheckpoint(join(dir, "nowhere"))).toThrow(CheckpointError);
});
