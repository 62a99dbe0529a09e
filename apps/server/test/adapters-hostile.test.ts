/** Adapter files that are damaged or mean harm: all of them are refused on the host, by name, and leave nothing. */
import { writeSafetensors } from "@graft/core/io";
import { Random } from "@graft/core/random";
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { RunningServer } from "../src/index.ts";
import { adapterApi, type Answer } from "./adapter-api.ts";
import { microModel, startMicroServer } from "./in-process.ts";
import { writeRandomAdapter } from "./proof/random-adapters.ts";

const folder = mkdtempSync(join(tmpdir(), "hostile-"));
const dataDir = join(folder, "data");
const roots = join(folder, "roots");
const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";
let server: RunningServer;
let config: Record<string, unknown>;
let weights: Buffer;
let before: { bytes: number; tree: string[] };
const { call } = adapterApi(() => server);

/** Files alone: folders by hash may stay empty. */
const tree = (): string[] =>
  readdirSync(join(dataDir, "blobs"), { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [join(entry.parentPath, entry.name)] : [],
  );

beforeAll(async () => {
  const good = await writeRandomAdapter(microModel, roots, "lora", 1);
  config = JSON.parse(readFileSync(join(good, CONFIG), "utf8")) as Record<string, unknown>;
  weights = readFileSync(join(good, WEIGHTS));
  server = await startMicroServer({ adapters: {}, dataDir, adapterRoots: [roots] });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  before = { bytes: (await server.engine.stats()).deviceBytes, tree: tree() };
});

type Content = string | Uint8Array;
const json = (changes: object): string => JSON.stringify({ ...config, ...changes });

async function upload(files: Readonly<Record<string, Content>>): Promise<Answer> {
  const form = new FormData();
  form.set("name", "bad");
  for (const [name, content] of Object.entries(files)) form.append("files", new File([content as string], name));
  return call("POST", "/v1/adapters", form);
}

/** A 400 that says this, no path of the server's, and nothing has changed anywhere. */
async function expectRefused(answer: Answer, message: string | RegExp, what = ""): Promise<void> {
  expect([what, answer.status, answer.text]).toEqual([
    what,
    400,
    expect.stringMatching(new RegExp(message)) as unknown as string,
  ]);
  expect(answer.text).not.toContain(folder);
  expect(server.engine.adapters()).toEqual([]);
  expect(tree()).toEqual(before.tree);
  const { data } = JSON.parse((await call("GET", "/v1/adapters")).text) as { data: unknown[] };
  expect(data).toEqual([]);
  expect((await server.engine.stats()).deviceBytes).toBe(before.bytes);
}

/** The good weights with a header that was changed as text. */
function withHeader(change: (header: string) => string): Buffer {
  const length = Number(weights.readBigUInt64LE());
  const header = Buffer.from(
    change(
      weights
        .subarray(8, 8 + length)
        .toString("utf8")
        .trimEnd(),
    ),
  );
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([size, header, weights.subarray(8 + length)]);
}

/** The good weights with one tensor made otherwise. */
function withTensor(name: string, tensor: { shape: readonly number[]; values: readonly number[] } | undefined): Buffer {
  const path = join(folder, "made.safetensors");
  const length = Number(weights.readBigUInt64LE());
  const header = JSON.parse(weights.subarray(8, 8 + length).toString()) as Record<
    string,
    { dtype: "F32"; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map(
    Object.entries(header).flatMap(([key, { dtype, shape, data_offsets: at }]) =>
      key === "__metadata__"
        ? []
        : [[key, { dtype, shape, bytes: weights.subarray(8 + length + at[0], 8 + length + at[1]) }]],
    ),
  );
  tensors.delete(name);
  if (tensor) {
    const bytes = Buffer.from(Float32Array.from(tensor.values).buffer);
    tensors.set(name, { dtype: "F32", shape: [...tensor.shape], bytes });
  }
  writeSafetensors(path, tensors as never, { format: "pt" });
  return readFileSync(path);
}

const TENSOR = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

test("weights that are damaged, lie or do not fit are named, with their tensor", async () => {
  const name = config["peft_type"] === "LORA" ? TENSOR : "";
  const zeros = Array.from({ length: 4 * 16 }, () => 0);
  const cases: readonly [string, Content, string | RegExp][] = [
    ["cut in the data", weights.subarray(0, weights.length - 5), WEIGHTS],
    ["cut in the header", weights.subarray(0, 40), "truncated"],
    ["empty", "", WEIGHTS],
    ["text", "not a tensor in sight", WEIGHTS],
    [
      "a header of 2^60 bytes",
      Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 16]), weights.subarray(8)]),
      "header claims",
    ],
    ["a shape that does not fit its bytes", withHeader((h) => h.replace(/"shape":\[(\d+),/, '"shape":[9$1,')), WEIGHTS],
    [
      "offsets beyond the end",
      withHeader((h) => h.replace(/"data_offsets":\[0,(\d+)\]/, '"data_offsets":[0,9$1]')),
      WEIGHTS,
    ],
    ["a negative size", withHeader((h) => h.replace(/"shape":\[/, '"shape":[-1,')), WEIGHTS],
    ["huge sizes", withHeader((h) => h.replace(/"shape":\[/, '"shape":[4294967296,4294967296,')), WEIGHTS],
    ["a key twice", withHeader((h) => h.replace("{", '{"x":1,"x":2,')), WEIGHTS],
    ["deep JSON", withHeader(() => "[".repeat(5000)), WEIGHTS],
    ["another shape", withTensor(TENSOR, { shape: [4, 16], values: zeros }), TENSOR],
    ["a tensor is missing", withTensor(TENSOR, undefined), `has no tensor ${TENSOR}`],
    [
      "a tensor too many",
      withTensor("base_model.model.lm_head.weight", { shape: [1], values: [1] }),
      "lm_head.weight does not belong",
    ],
  ];
  expect(name).toBe(TENSOR);
  for (const [what, content, message] of cases) {
    const answer = await upload({ [CONFIG]: json({}), [WEIGHTS]: content });
    await expectRefused(answer, message, what);
    expect([what, answer.error!.param, answer.error!.code]).toEqual([what, WEIGHTS, "invalid_adapter"]);
  }
});

test("values that are not finite are named with their place", async () => {
  const info = JSON.parse(weights.subarray(8, 8 + Number(weights.readBigUInt64LE())).toString()) as Record<
    string,
    { shape: [number, number] }
  >;
  const shape = info[TENSOR]!.shape;
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const values = Array.from({ length: shape[0] * shape[1] }, (_, i) => (i === 7 ? value : 0));
    const answer = await upload({ [CONFIG]: json({}), [WEIGHTS]: withTensor(TENSOR, { shape, values }) });
    await expectRefused(answer, `tensor ${TENSOR} has ${value} at 7`);
  }
});

test("configs that are none, or mean another base, or never end are named, with their field", async () => {
  const cases: readonly [string, Content, string | RegExp][] = [
    ["no JSON", "{", `${CONFIG}: is not valid JSON`],
    ["a list", "[]", CONFIG],
    ["deep", `${"[".repeat(100_000)}`, CONFIG],
    ["too large", json({ note: "x".repeat(300_000) }), "bytes, more than"],
    ["unknown method", json({ peft_type: "LORO" }), "unknown peft_type .{1,2}LORO"],
    ["no method", json({ peft_type: undefined }), "peft_type"],
    ["a rank of text", json({ r: "4" }), "r: "],
    ["another rank", json({ r: 8 }), TENSOR.slice(0, 20)],
    ["a huge rank", json({ r: 2 ** 40 }), "lora_A|bytes"],
    ["other modules", json({ target_modules: ["c_attn"] }), "c_attn"],
    ["no regular expression", json({ target_modules: "(" }), "is no regular expression"],
    ["a pattern that never ends", json({ target_modules: "(.+)+x$" }), "takes too long"],
    ["the same in another place", json({ rank_pattern: { "(.*.*)*x": 4 } }), "takes too long"],
    [
      "values that follow from it, without end",
      json({ peft_type: "VERA", r: 2 ** 33, save_projection: false }),
      "bytes|r: |tensor",
    ],
  ];
  for (const [what, content, message] of cases)
    await expectRefused(await upload({ [CONFIG]: content, [WEIGHTS]: weights }), message, what);
});

test("pickles run nothing, and archives that are packed, damaged or bombs are refused", async () => {
  const marker = join(folder, "ran");
  // What pickle.dumps makes of an object whose __reduce__ is (os.system, ("touch ...",)).
  const evil = Buffer.from(`cos\nsystem\n(S'touch ${marker}'\ntR.`);
  const bomb = gzipSync(Buffer.alloc(2 ** 22));
  for (const [what, content] of [
    ["a bare pickle", evil],
    [
      "a pickle in a zip",
      zip([
        ["archive/data.pkl", Buffer.concat([Buffer.from([0x80, 2]), evil])],
        ["archive/version", Buffer.from("3")],
      ]),
    ],
    ["gzip", bomb],
    ["a zip that says it is packed", zip([["archive/data.pkl", evil]], { method: 8 })],
    ["a zip that lies about sizes", zip([["archive/data.pkl", evil]], { claimed: 2 ** 31 })],
    ["a zip with ways out", zip([["../../../../etc/cron.d/x", evil]])],
    ["nothing", Buffer.alloc(0)],
  ] as const)
    await expectRefused(
      await upload({ [CONFIG]: json({}), "adapter_model.bin": content }),
      "adapter_model\\.bin",
      what,
    );
  expect(readdirSync(folder)).not.toContain("ran");
});

test("forms with other files, other names, or too few of them are refused", async () => {
  const good = { [CONFIG]: json({}), [WEIGHTS]: weights };
  const cases: readonly [string, Readonly<Record<string, Content>>, string][] = [
    ["no files", {}, `${CONFIG}: is missing`],
    ["no weights", { [CONFIG]: json({}) }, "one of the two"],
    ["both weights", { ...good, "adapter_model.bin": "x" }, "one of the two"],
    ["another file", { ...good, "modeling.py": "import os" }, "modeling.py: is no file of an adapter"],
    ["a way out", { ...good, "../../../../tmp/adapter_config.json": "{}" }, "is no file of an adapter|stands twice"],
    ["an absolute way", { ...good, "/etc/passwd": "{}" }, "is no file of an adapter"],
    [
      "a zero byte",
      { ...good, "adapter_config.json\0.txt": "{}" },
      "is no file of an adapter|stands twice|no valid multipart",
    ],
    ["a very long name", { ...good, ["x".repeat(100_000)]: "{}" }, "is no file of an adapter"],
  ];
  for (const [what, files, message] of cases) {
    const answer = await upload(files);
    await expectRefused(answer, message, what);
    expect(answer.text.length).toBeLessThan(500);
  }
  const twice = new FormData();
  twice.set("name", "bad");
  for (const name of [CONFIG, CONFIG, WEIGHTS]) twice.append("files", new File(["{}"], name));
  await expectRefused(await call("POST", "/v1/adapters", twice), "stands twice");
  const unnamed = new FormData();
  unnamed.append("files", new File(["{}"], CONFIG));
  await expectRefused(await call("POST", "/v1/adapters", unnamed), "name: ");
  for (const body of [
    {},
    { name: "bad" },
    { name: "bad", from: {} },
    { name: "bad", from: { path: "x", job: "y" } },
    { name: 7 },
  ])
    await expectRefused(await call("POST", "/v1/adapters", body), "name: |from");
});

test("links in an allowed folder lead nowhere else", async () => {
  const secret = join(folder, "secret");
  writeFileSync(secret, '{"peft_type": "LORA", "password": "xyzzy"}');
  const linked = join(roots, "linked");
  await writeRandomAdapter(microModel, linked, "lora", 1);
  const way = join(linked, "lora-1");
  rmSync(join(way, CONFIG));
  symlinkSync(secret, join(way, CONFIG));
  symlinkSync(folder, join(roots, "all"));
  symlinkSync(join(folder, "nothing"), join(roots, "dangling"));
  for (const path of [
    way,
    join(roots, "all"),
    join(roots, "all/secret"),
    join(roots, "dangling"),
    join(roots, "all/nothing"),
  ]) {
    const answer = await call("POST", "/v1/load_lora_adapter", { lora_name: "bad", lora_path: path });
    expect([path, answer.status]).toEqual([path, 403]);
    expect(answer.text).not.toContain("xyzzy");
  }
});

test("good files with bytes changed anywhere are refused or are an adapter; never an error of the server", async () => {
  const random = new Random(11);
  const text = Buffer.from(json({}));
  for (let i = 0; i < 120; i++) {
    const isConfig = i % 2 === 0;
    const bytes = Buffer.from(isConfig ? text : weights);
    // Most of the weights is numbers: the header is what can be wrong.
    const range = isConfig ? bytes.length : Math.min(bytes.length, 2000);
    for (let changes = 1 + random.int(3); changes > 0; changes--) bytes[random.int(range)] = random.int(256);
    const answer = await upload({ [CONFIG]: isConfig ? bytes : text, [WEIGHTS]: isConfig ? weights : bytes });
    expect([i, [200, 400].includes(answer.status), answer.text]).toEqual([i, true, answer.text]);
    if (answer.status === 200) expect((await call("DELETE", "/v1/adapters/bad")).status).toBe(200);
    expect(answer.text).not.toContain(folder);
  }
  expect(tree()).toEqual(before.tree);
  expect((await server.engine.stats()).deviceBytes).toBe(before.bytes);
});

/** A zip as torch writes it, stored. */
function zip(
  entries: readonly (readonly [string, Uint8Array])[],
  { method = 0, claimed }: { readonly method?: number; readonly claimed?: number } = {},
): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let at = 0;
  for (const [name, content] of entries) {
    const size = claimed ?? content.length;
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50);
    head.writeUInt16LE(method, 8);
    head.writeUInt32LE(size, 18);
    head.writeUInt32LE(size, 22);
    head.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(size, 20);
    entry.writeUInt32LE(size, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    local.push(head, Buffer.from(name), Buffer.from(content));
    central.push(entry, Buffer.from(name));
    at += 30 + name.length + content.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...local, directory, end]);
}
