import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtures, shared } from "../../test/shared.ts";
import { pickle as p, zip } from "../../test/torch-zip.ts";
import { CheckpointError } from "../errors/index.ts";
import { Random } from "../random/index.ts";
import { openSafetensors } from "./safetensors.ts";
import { openTorchPickle } from "./torch-pickle.ts";

const folder = mkdtempSync(join(tmpdir(), "graft-torch-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "model.bin");

/** The tensors of a file, all read. */
function readAll(bytes: Uint8Array): Map<string, { dtype: string; shape: readonly number[]; bytes: Uint8Array }> {
  writeFileSync(path, bytes);
  const file = openTorchPickle(path);
  try {
    return new Map(
      [...file.tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape, bytes: file.read(name) }]),
    );
  } finally {
    file.close();
  }
}

const data = (...parts: readonly (string | Uint8Array)[]): [string, Uint8Array] => ["m/data.pkl", p.program(...parts)];
const f32 = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const simple = p.tensor(p.storage("torch FloatStorage", "0", 4), 0, [2, 2], [2, 1]);
const one = (tensor: Uint8Array): [string, Uint8Array] => data("}", p.text("w"), tensor, "s");
const values = (bytes: Uint8Array): number[] => [...new Float32Array(bytes.slice().buffer)];

test("a file that torch wrote holds the weights of the reference case", () => {
  const want = openSafetensors(join(fixtures, "torch/lora.safetensors"));
  const file = openTorchPickle(join(fixtures, "torch/lora.bin"));
  expect([...file.tensors.keys()].toSorted()).toEqual([...want.tensors.keys()].toSorted());
  for (const name of file.tensors.keys()) {
    expect(file.info(name)).toMatchObject({ dtype: want.info(name).dtype, shape: want.info(name).shape });
    expect(file.read(name)).toEqual(want.read(name));
  }
  expect(() => file.read("base_model.model.model.layers.0.self_attn.q_porj.lora_A.weight")).toThrow(
    /no tensor .*did you mean .*q_proj/,
  );
  file.close();
  expect(() => file.read([...want.tensors.keys()][0]!)).toThrow("after the file was closed");
  want.close();
});

test.skipIf(!shared)("every .bin of the reference data holds what its case says", () => {
  const saved = join(shared!, "golden/saved");
  let compared = 0;
  for (const name of readdirSync(saved).filter((entry) => entry.startsWith("lla-"))) {
    const file = openTorchPickle(join(saved, name, "adapter_model.bin"));
    const base = /-(bloom|gpt2|llama-mha)$/.exec(name)![1]!;
    const cases = readdirSync(join(shared!, "golden/adapters", base)).map((c) =>
      openSafetensors(join(shared!, "golden/adapters", base, c, "tensors.safetensors")),
    );
    // The case of the same method is the one that has all the names, with equal values.
    const equal = cases.filter((c) =>
      [...file.tensors.keys()].every((key) => {
        const own = [`init/${key}`, `saved/${key}`].find((k) => c.tensors.has(k));
        return own !== undefined && Buffer.compare(c.read(own), file.read(key)) === 0;
      }),
    );
    expect({ name, equal: equal.length }).toMatchObject({ name, equal: 1 });
    compared += file.tensors.size;
    for (const opened of [file, ...cases]) opened.close();
  }
  expect(compared).toBeGreaterThan(20);
});

test("views, transposes, offsets and shared storages come out row-major", () => {
  const storage = p.storage("torch FloatStorage", "0", 6);
  const got = readAll(
    zip([
      data(
        "}(",
        ...[p.text("whole"), p.tensor(storage, 0, [2, 3], [3, 1])],
        ...[p.text("transposed"), p.tensor(storage, 0, [3, 2], [1, 3])],
        ...[p.text("row"), p.tensor(storage, 3, [3], [1])],
        ...[p.text("column"), p.tensor(storage, 1, [2], [3])],
        ...[p.text("scalar"), p.tensor(storage, 5, [], [])],
        ...[p.text("none"), p.tensor(storage, 6, [0, 3], [3, 1])],
        ...[p.text("one"), p.tensor(storage, 2, [1, 1], [99, 7])],
        "u",
      ),
      ["m/data/0", f32(1, 2, 3, 4, 5, 6)],
    ]),
  );
  expect(Object.fromEntries([...got].map(([name, t]) => [name, values(t.bytes)]))).toEqual({
    whole: [1, 2, 3, 4, 5, 6],
    transposed: [1, 4, 2, 5, 3, 6],
    row: [4, 5, 6],
    column: [2, 5],
    scalar: [6],
    none: [],
    one: [3],
  });
});

test("an ordered dictionary with metadata, parameters and plain values is read as torch writes it", () => {
  const parameter = [
    p.global("torch._utils _rebuild_parameter"),
    "(",
    simple,
    "\x88",
    "ccollections\nOrderedDict\n)R",
    "tR",
  ];
  const got = readAll(
    zip([
      data(
        ...[
          "ccollections\nOrderedDict\n)Rq\x00(",
          p.text("w"),
          ...parameter,
          p.text("again"),
          simple,
          p.text("step"),
          p.int(7),
          p.text("note"),
          p.text("x"),
          "u",
        ],
        ...["}", p.text("_metadata"), "ccollections\nOrderedDict\n)R", "sb"],
      ),
      ["m/byteorder", "little"],
      ["m/data/0", f32(1, 2, 3, 4)],
    ]),
  );
  expect([...got.keys()]).toEqual(["w", "again"]);
  expect(values(got.get("w")!.bytes)).toEqual([1, 2, 3, 4]);
});

test("every storage class has its dtype", () => {
  const types = {
    Double: "F64",
    Float: "F32",
    Half: "F16",
    BFloat16: "BF16",
    Long: "I64",
    Int: "I32",
    Short: "I16",
    Char: "I8",
    Byte: "U8",
    Bool: "BOOL",
    ComplexFloat: "C64",
  };
  for (const [type, dtype] of Object.entries(types)) {
    const width = Number(/\d+$/.exec(dtype)?.[0] ?? 8) / 8;
    const got = readAll(
      zip([
        one(p.tensor(p.storage(`torch ${type}Storage`, "a", 3), 1, [2], [1])),
        ["m/data/a", new Uint8Array(3 * width).fill(1)],
      ]),
    );
    expect(got.get("w")).toEqual({ dtype, shape: [2], bytes: new Uint8Array(2 * width).fill(1) });
  }
});

test("a dtype without a storage class comes as bytes", () => {
  const storage = p.storage("torch.storage UntypedStorage", "0", 2);
  const list = p.tuple(
    storage,
    p.int(0),
    p.tuple(p.int(2)),
    p.tuple(p.int(1)),
    Uint8Array.of(0x89),
    p.tuple(),
    p.global("torch float8_e4m3fn"),
  );
  const got = readAll(
    zip([
      data("}", p.text("w"), p.global("torch._utils _rebuild_tensor_v3"), list, "Rs"),
      ["m/data/0", Uint8Array.of(0x38, 0x40)],
    ]),
  );
  expect(got.get("w")).toEqual({ dtype: "F8_E4M3", shape: [2], bytes: Uint8Array.of(0x38, 0x40) });
});

test("sizes beyond 4 GiB are announced in zip64 fields, which are read", () => {
  const got = readAll(zip([one(simple), ["m/data/0", f32(1, 2, 3, 4)]], { isZip64: true }));
  expect(values(got.get("w")!.bytes)).toEqual([1, 2, 3, 4]);
});

const weights: [string, Uint8Array] = ["m/data/0", f32(1, 2, 3, 4)];
const damagedEntry = (change: (file: Uint8Array) => void): Uint8Array => {
  const file = zip([one(simple), weights]);
  change(file);
  return file;
};
const directoryOf = (file: Uint8Array): number => new DataView(file.buffer).getUint32(file.length - 6, true);

const bad: Record<string, [file: Uint8Array, message: string]> = {
  "an empty file": [new Uint8Array(0), "not a file that torch.save wrote"],
  text: [new TextEncoder().encode("version https://git-lfs.github.com/spec/v1"), "not a file that torch.save wrote"],
  "the format before torch 1.6": [Uint8Array.of(0x80, 2, 0x8a, 10, 0x6c), "a pickle of torch before 1.6"],
  "a zip without data.pkl": [zip([["m/readme", "x"]]), "has 0 entries data.pkl"],
  "two data.pkl": [zip([one(simple), ["n/data.pkl", new Uint8Array(1)]]), "has 2 entries data.pkl"],
  "the same entry twice": [zip([one(simple), weights, weights]), "zip entry m/data/0 occurs twice"],
  "a big-endian file": [zip([one(simple), weights, ["m/byteorder", "big"]]), "big-endian"],
  "a cut file": [zip([one(simple), weights]).slice(0, -30), "no zip archive, or truncated"],
  "a compressed entry": [damagedEntry((f) => (f[directoryOf(f) + 10] = 8)), "zip entry m/data.pkl is compressed"],
  "an encrypted entry": [damagedEntry((f) => (f[directoryOf(f) + 8] = 1)), "zip entry m/data.pkl is encrypted"],
  "an entry beyond the file": [
    damagedEntry((f) => (f[directoryOf(f) + 44] = 0x7f)),
    "zip entry m/data.pkl's header lies outside the file",
  ],
  "a directory beyond the file": [
    damagedEntry((f) => (f[f.length - 4] = 0x70)),
    "the zip directory lies outside the file",
  ],
  "missing data": [zip([one(simple)]), "tensor w: its data 0 is missing"],
  "short data": [
    zip([one(simple), ["m/data/0", f32(1)]]),
    "tensor w: its storage should have 16 bytes, the file has 4",
  ],
  "a list": [zip([data("]")]), "holds no dictionary of tensors"],
  "a key that is no text": [zip([data("}", p.int(1), simple, "s"), weights]), "a key of its dictionary is no text"],
  "a nested dictionary": [zip([data("}", p.text("state_dict"), "}", "s")]), "state_dict is no tensor"],
  "a shape beyond the storage": [
    zip([one(p.tensor(p.storage("torch FloatStorage", "0", 4), 0, [5], [1])), weights]),
    "F32 of shape [5] does not fit in a storage of 16 bytes",
  ],
  "an endlessly repeated element": [
    zip([one(p.tensor(p.storage("torch FloatStorage", "0", 4), 0, [1 << 30, 1 << 30], [0, 0])), weights]),
    "does not fit in a storage of 16 bytes",
  ],
  "strides beyond the storage": [
    zip([one(p.tensor(p.storage("torch FloatStorage", "0", 4), 0, [2, 2], [3, 1])), weights]),
    "strides [3,1] from 0 lead beyond its storage",
  ],
  "an offset beyond the storage": [
    zip([one(p.tensor(p.storage("torch FloatStorage", "0", 4), 3, [2], [1])), weights]),
    "strides [1] from 3 lead beyond its storage",
  ],
  "a negative stride": [
    zip([one(p.tensor(p.storage("torch FloatStorage", "0", 4), 0, [2], [-1])), weights]),
    "a tensor whose storage, offset, size or stride are none",
  ],
};

test.each(Object.entries(bad))("%s is refused, naming the file", (_, [bytes, message]) => {
  expect(() => readAll(bytes)).toThrow(CheckpointError);
  expect(() => readAll(bytes)).toThrow(`${path}: `);
  expect(() => readAll(bytes)).toThrow(message);
});

const attacks: Record<string, readonly (string | Uint8Array)[]> = {
  "os.system": [p.global("os system"), p.tuple(p.text("touch /tmp/owned")), "R"],
  "builtins.eval": [p.global("builtins eval"), p.tuple(p.text("1")), "R"],
  "posix.system through STACK_GLOBAL": [p.text("posix"), p.text("system"), "\x93", p.tuple(p.text("x")), "R"],
  "a name with dots": [p.global("torch._utils _rebuild_tensor_v2.__globals__")],
  "torch.load itself": [p.global("torch.serialization load"), p.tuple(p.text("x")), "R"],
};

test.each(Object.entries(attacks))("%s is named and not run", (_, program) => {
  const bytes = zip([data(...program)]);
  expect(() => readAll(bytes)).toThrow(CheckpointError);
  expect(() => readAll(bytes)).toThrow(
    /data\.pkl: it refers to .*, which is not on the list of what weights need; it was not run/,
  );
});

test.each(["o", "i", "\x81", "\x92", "P", "\x82", "0", "2", "I1\n", "S'x'\n"])("opcode %j is refused", (opcode) => {
  expect(() => readAll(zip([data(opcode)]))).toThrow(
    /opcode 0x[0-9a-f]{2} is not one that weights need; it was not run/,
  );
});

const broken: Record<string, [program: readonly (string | Uint8Array)[], message: string]> = {
  "an OrderedDict of other data": [
    ["ccollections\nOrderedDict\n", p.tuple(p.tuple()), "R"],
    "an OrderedDict made from other data",
  ],
  "a call of no name": [[p.text("x"), ")R"], "a call of what is no name"],
  "a call of a storage": [["ctorch\nFloatStorage\n)R"], "a call of torch.FloatStorage"],
  "a persistent id that is no storage": [[p.text("x"), "Q"], "a persistent id that is no storage"],
  "an empty stack": [["s"], "nothing on the stack"],
  "no mark": [["}u"], "no mark on the stack"],
  "an empty memo": [["h\x05"], "memo 5 is empty"],
  "items for a list": [["](", p.text("a"), p.text("b"), "u"], "items for what is no dictionary"],
  "an odd item": [["}(", p.text("a"), "u"], "items for what is no dictionary"],
  "a huge text": [["X\xff\xff\xff\x7f"], "2147483647 bytes are missing"],
  "a huge integer": [["\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"], "is beyond 2^53"],
  "a very long integer": [["\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01"], "an integer of more than eight bytes"],
  "an unknown protocol": [["\x80\x09"], "protocol 9 is not known"],
};

test.each(Object.entries(broken))("%s is a typed error", (_, [program, message]) => {
  const bytes = zip([data(...program)]);
  expect(() => readAll(bytes)).toThrow(CheckpointError);
  expect(() => readAll(bytes)).toThrow(message);
});

test("a pickle without its end is a typed error", () => {
  expect(() => readAll(zip([["m/data.pkl", Uint8Array.of(0x80, 2, 0x4e)]]))).toThrow(
    new CheckpointError(`${path}: data.pkl: 1 bytes are missing at byte 3`),
  );
});

test("6,000 damaged files: a typed error or tensors of the right size, never anything else", () => {
  const seed = 44;
  const random = new Random(seed);
  const original = new Uint8Array(readFileSync(join(fixtures, "torch/lora.bin")));
  const small = zip([one(simple), weights]);
  const directory = directoryOf(original);
  const pickleAt = [...original.keys()].find((i) => original[i] === 0x80 && original[i + 1] === 2)!;
  let accepted = 0;
  for (let round = 0; round < 6_000; round++) {
    let file = (round % 2 ? original : small).slice();
    const what = `seed ${seed}, round ${round}`;
    // Where damage is felt: the pickle, the directory at the end, the first header.
    const [from, to] =
      round % 2
        ? (
            [
              [pickleAt, pickleAt + 1090],
              [directory, file.length],
              [0, 60],
            ] as const
          )[random.int(3)]!
        : [0, file.length];
    if (random.int(5) === 0) file = file.slice(0, random.int(file.length));
    else {
      for (let flips = 1 + random.int(4); flips > 0; flips--) {
        const at = from + random.int(to - from);
        if (random.int(2)) file[at]! ^= 1 << random.int(8);
        else file[at] = random.int(256);
      }
    }
    try {
      for (const { shape, dtype, bytes } of readAll(file).values()) {
        if (bytes.length > file.length) throw new Error(`${what}: ${dtype} ${shape} of ${bytes.length} bytes`);
      }
      accepted++;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw new Error(`${what}: ${error}`, { cause: error });
      if (!error.message.startsWith(path)) throw new Error(`${what}: no file in "${error.message}"`);
    }
  }
  // Flipped letters of a name, or of data, are good files.
  expect(accepted).toBeGreaterThan(200);
  expect(accepted).toBeLessThan(4_500);
});
