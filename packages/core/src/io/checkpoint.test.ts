import { afterAll, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtures } from "../../test/shared.ts";
import { CheckpointError } from "../errors/index.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { type TensorData, writeSafetensors } from "./safetensors.ts";
import { openTensorFile } from "./tensor-file.ts";

const root = mkdtempSync(join(tmpdir(), "graft-checkpoint-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;

type Files = Readonly<Record<string, ReadonlyMap<string, TensorData> | string>>;

/** A folder of safetensors files and of texts. */
function folderOf(files: Files): string {
  const folder = join(root, String(count++));
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files)) {
    if (typeof content === "string") writeFileSync(join(folder, name), content);
    else writeSafetensors(join(folder, name), content, { format: "pt" });
  }
  return folder;
}

const f32 = (...values: number[]): TensorData => ({
  dtype: "F32",
  shape: [values.length],
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});
const [a, b] = ["model.layers.0.q_proj.weight", "model.layers.0.k_proj.weight"];
const index = (map: Readonly<Record<string, unknown>>) =>
  JSON.stringify({ metadata: { total_size: 8 }, weight_map: map });
const [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

test("a single file and two shards are the same checkpoint", () => {
  const single = folderOf({
    "model.safetensors": new Map([
      [a, f32(1)],
      [b, f32(2, 3)],
    ]),
  });
  const sharded = folderOf({
    [first]: new Map([[a, f32(1)]]),
    [second]: new Map([[b, f32(2, 3)]]),
    "model.safetensors.index.json": index({ [a]: first, [b]: second }),
  });
  for (const folder of [single, sharded]) {
    const checkpoint = openCheckpoint(folder);
    expect(checkpoint.names().toSorted()).toEqual([b, a]);
    expect([checkpoint.has(a), checkpoint.has("x")]).toEqual([true, false]);
    expect(checkpoint.info(b)).toMatchObject({ dtype: "F32", shape: [2] });
    expect(checkpoint.read(b)).toEqual(f32(2, 3).bytes as Uint8Array<ArrayBuffer>);
    checkpoint.close();
    expect(() => checkpoint.read(a)).toThrow("after the file was closed");
  }
});

test("PyTorch files are read, alone and as shards", () => {
  const bin = join(fixtures, "torch/lora.bin");
  const names = [...openTensorFile(bin).tensors.keys()];
  const single = folderOf({});
  copyFileSync(bin, join(single, "pytorch_model.bin"));
  const shard = "pytorch_model-00001-of-00001.bin";
  const sharded = folderOf({
    "pytorch_model.bin.index.json": index(Object.fromEntries(names.map((name) => [name, shard]))),
  });
  copyFileSync(bin, join(sharded, shard));
  for (const folder of [single, sharded]) {
    const checkpoint = openCheckpoint(folder);
    expect(checkpoint.names()).toEqual(names);
    expect(checkpoint.read(names[0]!)).toHaveLength(1024);
    checkpoint.close();
  }
});

test("safetensors win over PyTorch files", () => {
  const folder = folderOf({ "model.safetensors": new Map([[a, f32(1)]]), "pytorch_model.bin": "not read" });
  expect(openCheckpoint(folder).names()).toEqual([a]);
});

test("a tensor that is not there is answered with near names", () => {
  const folder = folderOf({ "model.safetensors": new Map([[a, f32(1)]]) });
  const attempt = () => openCheckpoint(folder).read("model.layers.0.q_porj.weight");
  expect(attempt).toThrow(CheckpointError);
  expect(attempt).toThrow(`${folder}: the checkpoint has no tensor model.layers.0.q_porj.weight; did you mean ${a}?`);
});

const bad: Record<string, [files: Files, message: string]> = {
  "no weights": [{}, "has no weights; looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin"],
  "a missing shard": [{ "model.safetensors.index.json": index({ [a]: first }) }, `${first}: this shard of`],
  "a shard without the tensor": [
    { [first]: new Map([[b, f32(1)]]), "model.safetensors.index.json": index({ [a]: first }) },
    `says that ${first} holds ${a}, it does not`,
  ],
  "a shard outside the folder": [
    { "model.safetensors.index.json": index({ [a]: "../x.safetensors" }) },
    'lies in "../x.safetensors", outside the folder',
  ],
  "a shard of another kind": [
    { "x.gguf": "x", "model.safetensors.index.json": index({ [a]: "x.gguf" }) },
    "weights are .safetensors, or .bin",
  ],
  "an index that is no JSON": [{ "model.safetensors.index.json": "{" }, "is not valid JSON"],
  "an index of numbers": [
    { "model.safetensors.index.json": index({ [a]: 1 }) },
    "has no weight_map from tensor to file",
  ],
  "a damaged file": [{ "model.safetensors": "truncated" }, "model.safetensors: header claims"],
};

test.each(Object.entries(bad))("%s is refused, naming the folder", (_, [files, message]) => {
  const folder = folderOf(files);
  expect(() => openCheckpoint(folder)).toThrow(CheckpointError);
  expect(() => openCheckpoint(folder)).toThrow(folder);
  expect(() => openCheckpoint(folder)).toThrow(message);
});

test("a folder that does not exist, and a file in its place, are named", () => {
  expect(() => openCheckpoint(join(root, "none"))).toThrow(/none: no such folder/);
  writeFileSync(join(root, "file"), "");
  expect(() => openCheckpoint(join(root, "file"))).toThrow(/file: is no folder/);
});
