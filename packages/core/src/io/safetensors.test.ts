import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtures, shared } from "../../test/shared.ts";
import { CheckpointError } from "../errors/index.ts";
import { Random } from "../random/index.ts";
import { fileDTypes } from "./dtype.ts";
import {
  encodeSafetensors,
  openSafetensors,
  parseSafetensors,
  streamSafetensors,
  type TensorData,
  writeSafetensors,
} from "./safetensors.ts";

const folder = mkdtempSync(join(tmpdir(), "graft-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const f32 = (...values: number[]): TensorData => ({
  dtype: "F32",
  shape: [values.length],
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});

/** A file from header text and data bytes, with nothing made right. */
function raw(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

function reencoded(bytes: Uint8Array): Uint8Array {
  const { tensors, metadata } = parseSafetensors("file", bytes);
  const shuffled = new Map([...tensors].toReversed());
  return encodeSafetensors(shuffled, metadata);
}

test("a file of every dtype that the reference library wrote is read, and written again byte for byte", () => {
  const path = join(fixtures, "safetensors/dtypes.safetensors");
  const bytes = new Uint8Array(readFileSync(path));
  const file = openSafetensors(path);
  expect(file.metadata).toEqual({ format: "pt" });
  expect(file.tensors.size).toBe(29);
  expect(file.info("scalar")).toEqual({ dtype: "I64", shape: [], begin: 2040, end: 2048 });
  expect([...file.read("scalar")]).toEqual([7, 0, 0, 0, 0, 0, 0, 0]);
  expect(file.read("b.weight")).toHaveLength(0);
  expect([...file.read("int16")]).toEqual(Array.from({ length: 12 }, (_, i) => (i * 7 + 2) % 251));
  expect([...file.readRange("int16", 3, 5)]).toEqual([23, 30]);
  file.close();
  expect(() => file.read("int16")).toThrow("tensor int16 read after the file was closed");
  expect(Buffer.compare(reencoded(bytes), bytes)).toBe(0);
});

// The cases' own tensors.safetensors are laid out by name, not by the library.
test.skipIf(!shared)("every file of the reference data is read", () => {
  const files = readdirSync(shared!, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".safetensors"));
  expect(files.length).toBeGreaterThan(150);
  for (const name of files) openSafetensors(join(shared!, name)).close();
});

test.skipIf(!shared)("every file that transformers and peft saved is written again byte for byte", () => {
  const files = readdirSync(shared!, { recursive: true, encoding: "utf8" }).filter((f) =>
    /(^|[/\\])(adapter_)?model\.safetensors$/.test(f),
  );
  expect(files.length).toBeGreaterThanOrEqual(16);
  for (const name of files) {
    const bytes = new Uint8Array(readFileSync(join(shared!, name)));
    if (Buffer.compare(reencoded(bytes), bytes) !== 0) throw new Error(`${name} changed`);
  }
});

test("written to disk, in memory and streamed are the same bytes", async () => {
  const tensors = new Map([
    ["b", f32(1, 2)],
    ["a", f32(3)],
    ["n", { dtype: "I64", shape: [], bytes: new Uint8Array(8) } as const],
  ]);
  const [path, other] = [join(folder, "w.safetensors"), join(folder, "s.safetensors")];
  writeSafetensors(path, tensors, { format: "pt" });
  const asked: string[] = [];
  await streamSafetensors(other, tensors, { format: "pt" }, async (name) => {
    asked.push(name);
    return tensors.get(name)!.bytes;
  });
  expect(asked).toEqual(["n", "a", "b"]);
  const bytes = encodeSafetensors(tensors, { format: "pt" });
  expect(Buffer.compare(readFileSync(path), bytes)).toBe(0);
  expect(Buffer.compare(readFileSync(other), bytes)).toBe(0);
});

test("a write that fails on the way leaves the previous file and no other", async () => {
  const path = join(folder, "keep.safetensors");
  writeSafetensors(path, new Map([["a", f32(1)]]));
  const before = readFileSync(path);
  const wrong = new Map([
    ["a", f32(1)],
    ["b", { ...f32(2), shape: [2] }],
  ]);
  expect(() => writeSafetensors(path, wrong)).toThrow(
    new CheckpointError(`${path}: tensor b needs 8 bytes by its shape and dtype, was given 4`),
  );
  const failing = streamSafetensors(path, wrong, {}, () => Promise.reject(new Error("device lost")));
  await expect(failing).rejects.toThrow("device lost");
  expect(Buffer.compare(readFileSync(path), before)).toBe(0);
  expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
});

test("what the format cannot hold is refused before anything is written", () => {
  const path = join(folder, "never.safetensors");
  const attempt = (name: string, tensor: TensorData) => () => writeSafetensors(path, new Map([[name, tensor]]));
  expect(attempt("__metadata__", f32(1))).toThrow("a tensor cannot be named __metadata__");
  expect(attempt("\ud800", f32(1))).toThrow("is not valid Unicode");
  expect(attempt("a", { ...f32(1), shape: [0.5] })).toThrow("F32 of shape [0.5] has no exact size in bytes");
  expect(readdirSync(folder)).not.toContain("never.safetensors");
});

test("an unknown tensor is answered with near names, a bad range with the size", () => {
  const path = join(folder, "names.safetensors");
  writeSafetensors(path, new Map([["model.layers.0.q_proj", f32(1, 2)]]));
  const file = openSafetensors(path);
  expect(() => file.read("model.layers.0.q_porj")).toThrow(
    `${path}: no tensor model.layers.0.q_porj; did you mean model.layers.0.q_proj?`,
  );
  for (const [from, to] of [
    [0, 9],
    [-1, 2],
    [4, 2],
    [0.5, 1],
    [0, Number.NaN],
  ] as const) {
    expect(() => file.readRange("model.layers.0.q_proj", from, to)).toThrow(`has 8 bytes, asked for [${from}, ${to})`);
  }
  truncateSync(path, 20);
  expect(() => file.read("model.layers.0.q_proj")).toThrow(
    /tensor model\.layers\.0\.q_proj: the file ends at byte \d+/,
  );
  file.close();
});

test("a missing file, a folder and an empty file are named", () => {
  expect(() => openSafetensors(join(folder, "none"))).toThrow(/none: cannot be opened: ENOENT/);
  expect(() => openSafetensors(folder)).toThrow(CheckpointError);
  const empty = join(folder, "empty.safetensors");
  writeFileSync(empty, "");
  expect(() => openSafetensors(empty)).toThrow("not a safetensors file, it has 0 bytes");
});

const tensor = (extra: string) => `{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]${extra}}}`;
const two = (a: string, b: string) =>
  `{"a":{"dtype":"U8","shape":[4],"data_offsets":${a}},"b":{"dtype":"U8","shape":[4],"data_offsets":${b}}}`;

const bad: Record<string, [file: Uint8Array, message: string]> = {
  "a length of 2^64 - 1": [raw("{}", 0, 2n ** 64n - 1n), "header claims 18446744073709551615 bytes, the format allows"],
  "a length beyond the file": [raw("{}", 0, 100n), "header claims 100 bytes, the file has 2"],
  "no header at all": [raw("", 8), 'header does not begin with "{"'],
  "a torn UTF-8 sequence": [raw(Uint8Array.of(0x7b, 0xc3, 0x28, 0x7d)), "header is not UTF-8"],
  "a list": [raw("[]"), 'header does not begin with "{"'],
  "text after the object": [raw("{} {}"), "header is not valid JSON: more text after the value"],
  "a trailing comma": [raw('{"__metadata__":{},}'), "header is not valid JSON: expected a string"],
  "deep nesting": [raw('{"a":' + "[".repeat(100_000)), "nested deeper than 64"],
  "the same tensor twice": [raw(two("[0,4]", "[4,8]").replace('"b"', '"a"'), 8), 'key "a" occurs twice'],
  "the same name, once escaped": [raw(two("[0,4]", "[4,8]").replace('"b"', '"\\u0061"'), 8), 'key "a" occurs twice'],
  "a field twice": [raw(tensor(',"shape":[2]'), 8), 'key "shape" occurs twice'],
  "an unknown field": [raw(tensor(',"stride":[1]'), 8), 'tensor w: unknown field "stride"'],
  "metadata that is no object": [raw('{"__metadata__":[]}'), "__metadata__ is not an object"],
  "metadata that is no text": [raw('{"__metadata__":{"a":1}}'), "__metadata__.a is not a string"],
  "a tensor that is no object": [raw('{"w":1}'), "tensor w: its entry is not an object"],
  "no dtype": [raw('{"w":{"shape":[],"data_offsets":[0,4]}}', 4), "tensor w: dtype is missing"],
  "an unknown dtype": [raw(tensor("").replace("F32", "F33"), 8), 'tensor w: unknown dtype "F33"; known: BOOL'],
  "a negative size": [raw(tensor("").replace("[2]", "[-2]"), 8), "tensor w: shape is not a list of sizes"],
  "a fractional size": [raw(tensor("").replace("[2]", "[2.0]"), 8), "tensor w: shape is not a list of sizes"],
  "a size beyond 2^53": [raw(tensor("").replace("[2]", "[9007199254740993]"), 8), "shape is not a list of sizes"],
  "a product that overflows": [
    raw(tensor("").replace("[2]", "[4503599627370496,4503599627370496]"), 8),
    "has no exact size in bytes",
  ],
  "a product that wraps to the right size in 64 bits": [
    raw(tensor("").replace("[2]", "[4294967296,4294967296,2]"), 8),
    "has no exact size in bytes",
  ],
  "offsets that are no pair": [raw(tensor("").replace("[0,8]", "[0]"), 8), "data_offsets is not a pair"],
  "an end before the begin": [raw(tensor("").replace("[0,8]", "[8,0]"), 8), "begins at data byte 8, after its end 0"],
  "an end beyond the file": [raw(tensor(""), 7), "tensor w: ends at data byte 8, the file has 7; truncated?"],
  "a shape that needs other bytes": [raw(tensor("").replace("[2]", "[3]"), 8), "F32 of shape [3] needs 12 bytes"],
  "bytes after the last tensor": [raw(tensor(""), 9), "tensors end at byte"],
  "an overlap": [raw(two("[0,4]", "[2,6]"), 6), "overlaps tensor a, which ends at"],
  "the same bytes twice": [raw(two("[0,4]", "[0,4]"), 4), "overlaps tensor a"],
  "a gap": [raw(two("[0,4]", "[5,9]"), 9), "leaves a gap of 1 bytes after tensor a"],
  "a gap before the first": [raw(two("[4,8]", "[8,12]"), 12), "leaves a gap of 4 bytes after the header"],
  "half a surrogate pair": [raw('{"\\ud800":{}}'), "half of a surrogate pair"],
  "odd sub-byte elements": [
    raw('{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}', 1),
    "F4 of shape [3] has no exact size",
  ],
};

test.each(Object.entries(bad))("%s is refused from memory and from disk, naming the file", (_, [bytes, message]) => {
  const path = join(folder, "bad.safetensors");
  writeFileSync(path, bytes);
  for (const attempt of [() => parseSafetensors(path, bytes), () => openSafetensors(path)]) {
    expect(attempt).toThrow(CheckpointError);
    expect(attempt).toThrow(`${path}: `);
    expect(attempt).toThrow(message);
  }
});

test("an empty file of the format, and one with white space, are read", () => {
  expect(parseSafetensors("f", raw("{}      ")).tensors.size).toBe(0);
  const spaced = raw(' {"w" : { "dtype":"F32",\n"shape": [ 2 ], "data_offsets":[0 , 8]} }'.trimStart(), 8);
  expect(parseSafetensors("f", spaced).tensors.get("w")!.shape).toEqual([2]);
});

/** Whatever the bytes: a CheckpointError, or a set of tensors that tile the data exactly. */
function survives(bytes: Uint8Array, what: string): boolean {
  try {
    const { tensors } = parseSafetensors("fuzz", bytes);
    const total = [...tensors.values()].reduce((sum, t) => sum + t.bytes.length, 0);
    if (total > bytes.length - 8) throw new Error(`${what}: tensors of ${total} bytes in a file of ${bytes.length}`);
    reencoded(bytes);
    return true;
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw new Error(`${what}: ${error}`, { cause: error });
    if (!error.message.startsWith("fuzz: ")) throw new Error(`${what}: no file in "${error.message}"`);
    return false;
  }
}

function randomFile(random: Random): Uint8Array {
  const tensors = new Map<string, TensorData>();
  for (let i = random.uint32() % 6; i >= 0; i--) {
    const dtype = fileDTypes[random.uint32() % fileDTypes.length]!;
    const shape = Array.from({ length: random.uint32() % 4 }, () => random.uint32() % 5);
    if (dtype.startsWith("F4") || dtype.startsWith("F6")) shape.push(8);
    const bytes = encodeSizes(shape, dtype);
    tensors.set(`layer.${i}.${dtype}`, { dtype, shape, bytes });
  }
  return encodeSafetensors(tensors, random.uint32() % 2 ? { format: "pt" } : {});
}

function encodeSizes(shape: readonly number[], dtype: (typeof fileDTypes)[number]): Uint8Array {
  const bits = { F4: 4, F6_E2M3: 6, F6_E3M2: 6 }[dtype as string] ?? 8 * (Number(/\d+/.exec(dtype)?.[0] ?? 8) / 8);
  return new Uint8Array((shape.reduce((a, b) => a * b, 1) * bits) / 8);
}

const pieces = [
  "[",
  "]",
  "{",
  "}",
  '"',
  ",",
  ":",
  "\\",
  "-1",
  "1e9",
  "99999999999999999999",
  "null",
  "F32",
  "BOOL",
  "shape",
  " ",
  "\u0000",
  "0",
  "18446744073709551615",
  '"dtype":"F64",',
  "é",
];

test("10,000 damaged files: a typed error or a consistent file, never anything else", () => {
  const seed = 42;
  const random = new Random(seed);
  let accepted = 0;
  for (let round = 0; round < 10_000; round++) {
    const file = randomFile(random);
    const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
    const what = `seed ${seed}, round ${round}`;
    let damaged: Uint8Array;
    switch (round % 4) {
      case 0: // flip bits, most of them in the header
        damaged = file.slice();
        for (let flips = 1 + (random.uint32() % 4); flips > 0; flips--) {
          damaged[random.uint32() % Math.min(file.length, 8 + headerBytes)]! ^= 1 << (random.uint32() % 8);
        }
        break;
      case 1: // cut
        damaged = file.slice(0, random.uint32() % file.length);
        break;
      case 2: {
        // put a piece of JSON somewhere, and keep the length right
        const header = new TextDecoder().decode(file.subarray(8, 8 + headerBytes));
        const at = random.uint32() % header.length;
        const cut = random.uint32() % 4;
        const piece = pieces[random.uint32() % pieces.length]!;
        const json = new TextEncoder().encode(header.slice(0, at) + piece + header.slice(at + cut));
        damaged = raw(json, file.length - 8 - headerBytes);
        break;
      }
      default: {
        // change a number, and keep the length right
        const header = new TextDecoder().decode(file.subarray(8, 8 + headerBytes));
        const numbers = [...header.matchAll(/(?<=[[,])\d+/g)];
        const chosen = numbers[random.uint32() % Math.max(1, numbers.length)];
        const changed = [random.uint32() % 100, 2 ** 53, 2 ** 32, 0][random.uint32() % 4]!;
        const json = chosen
          ? header.slice(0, chosen.index) + changed + header.slice(chosen.index + chosen[0].length)
          : header;
        damaged = raw(json, file.length - 8 - headerBytes);
      }
    }
    if (survives(damaged, what)) accepted++;
  }
  // A flipped letter in a name or a zero changed to zero is a good file: some must be accepted, most not.
  expect(accepted).toBeGreaterThan(100);
  expect(accepted).toBeLessThan(5_000);
});

test("random bytes are never read as a file", () => {
  const seed = 43;
  const random = new Random(seed);
  for (let round = 0; round < 2_000; round++) {
    const bytes = Uint8Array.from({ length: random.uint32() % 200 }, () => random.uint32() & 255);
    if (bytes.length > 8) bytes.fill(0, 1, 8); // a plausible length
    expect(survives(bytes, `seed ${seed}, round ${round}`)).toBe(false);
  }
});

test("a file of 6 GB is opened, and read beyond 4 GB, without being read whole", () => {
  const path = join(folder, "sparse.safetensors");
  const big = 6_000_000_000;
  const file = raw(
    `{"a":{"dtype":"U8","shape":[${big}],"data_offsets":[0,${big}]},"z":{"dtype":"F32","shape":[1],"data_offsets":[${big},${big + 4}]}}`,
  );
  writeFileSync(path, file);
  truncateSync(path, file.length + big + 4); // sparse: it takes no room on disk
  const before = process.memoryUsage.rss();
  const opened = openSafetensors(path);
  expect(opened.info("z").begin).toBe(file.length + big);
  expect([...opened.read("z")]).toEqual([0, 0, 0, 0]);
  expect(opened.readRange("a", big - 10, big)).toHaveLength(10);
  opened.close();
  expect(process.memoryUsage.rss() - before).toBeLessThan(200_000_000);
  rmSync(path);
});

test("a header of 100,000 tensors is read in linear time", () => {
  const tensors = new Map(Array.from({ length: 100_000 }, (_, i) => [`model.layers.${i}.weight`, f32(i)]));
  const began = performance.now();
  expect(parseSafetensors("f", encodeSafetensors(tensors)).tensors.size).toBe(100_000);
  expect(performance.now() - began).toBeLessThan(20_000); // a quadratic check takes minutes
});
