/** Adapters over HTTP, on a real engine. */
import { adapterVersion } from "@graft/adapters";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunningServer } from "../src/index.ts";
import { type AdapterAnswer, adapterApi } from "./adapter-api.ts";
import { startMicroServer } from "./in-process.ts";
import { type Kind, writeRandomAdapter } from "./proof/random-adapters.ts";
import { longModel, until } from "./shared.ts";

const folder = mkdtempSync(join(tmpdir(), "adapters-"));
const model = longModel();
const dataDir = join(folder, "data");
let server: RunningServer;
const api = adapterApi(() => server);
const { call, ok, at, upload } = api;
const folders: Record<string, string> = {};
const write = async (kind: Kind, seed: number): Promise<void> => {
  folders[`${kind}-${seed}`] = await writeRandomAdapter(model, join(folder, "versions"), kind, seed);
};

beforeAll(async () => {
  for (const seed of [1, 2, 3]) await write("lora", seed);
  await write("series", 1);
  await write("prefix", 1);
  server = await startMicroServer({ model, adapters: {}, dataDir, adapterRoots: [join(folder, "versions")] });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

/** Folders of adapters in the data directory. */
const kept = (): string[] =>
  readdirSync(join(dataDir, "blobs/adapters")).flatMap((first) => readdirSync(join(dataDir, "blobs/adapters", first)));

test("an upload is served at once, and listed with all that is known of it", async () => {
  const base = await api.text("graft-micro-llama");
  const answer = await upload("up", folders["lora-1"]!);
  const hash = adapterVersion(folders["lora-1"]!);
  expect(answer).toMatchObject({
    object: "adapter",
    name: "up",
    current_version: 1,
    method: "lora",
    hash,
    virtual_tokens: 0,
    pinned: false,
    tier: "host",
    versions: 1,
    added: { version: 1, hash, source: { type: "upload" }, is_current: true },
  });
  expect(await api.text("up")).not.toBe(base);
  expect((await api.adapter("up")).tier).toBe("device");
  expect(await api.models()).toEqual(["graft-micro-llama", "up"]);
  // The same bytes are the same version.
  expect((await upload("up", folders["lora-1"]!)).versions).toBe(1);
  // Under another name they are kept once.
  await upload("same", folders["lora-1"]!);
  expect(kept()).toEqual([hash]);
  expect((await ok<{ data: AdapterAnswer[] }>("GET", "/v1/adapters?limit=1")).data.map(({ name }) => name)).toEqual([
    "same",
  ]);
  const rest = await ok<{ data: AdapterAnswer[]; has_more: boolean }>("GET", "/v1/adapters?limit=1&after=same");
  expect([rest.data[0]!.name, rest.has_more]).toEqual(["up", false]);
  await ok("DELETE", at("same"));
  expect(kept()).toEqual([hash]);
});

test("a version that is published while a stream runs changes nothing in it; the next request gets it", async () => {
  const tokens = 100;
  const first = await api.stream("up", tokens);
  await upload("up", folders["lora-2"]!, { publish: "false" });
  expect(await api.adapter("up")).toMatchObject({ current_version: 1, versions: 2 });
  await upload("other", folders["lora-2"]!);
  const second = await api.stream("other", tokens);
  expect(second).not.toBe(first);
  const during = await api.stream("up", tokens, async () => {
    await ok("POST", `${at("up")}/publish`, { version: 2 });
    expect((await server.engine.stats()).running).toBe(1);
    expect((await api.adapter("up")).current_version).toBe(2);
  });
  expect(during).toBe(first);
  expect(await api.stream("up", tokens)).toBe(second);
  expect(await ok<AdapterAnswer>("POST", `${at("up")}/rollback`)).toMatchObject({ current_version: 1 });
  expect(await api.stream("up", tokens)).toBe(first);
  const nothing = await call("POST", `${at("up")}/rollback`);
  expect([nothing.status, nothing.error!.code]).toEqual([409, "wrong_state"]);
  expect((await api.versions("up")).map(({ version, is_current: isCurrent }) => [version, isCurrent])).toEqual([
    [2, false],
    [1, true],
  ]);
  expect((await call("POST", `${at("up")}/publish`, { version: 9 })).status).toBe(404);
  expect((await call("POST", `${at("up")}/publish`, { version: "2" })).error!.param).toBe("version");
  expect((await call("POST", `${at("nobody")}/publish`, { version: 1 })).status).toBe(404);
});

test("what is deleted while a stream runs is gone for others, and its files go when the stream has ended", async () => {
  await upload("gone", folders["series-1"]!);
  const hash = adapterVersion(folders["series-1"]!);
  const whole = await api.stream("gone", 100);
  const during = await api.stream("gone", 100, async () => {
    expect(await ok<object>("DELETE", at("gone"))).toEqual({ name: "gone", object: "adapter", deleted: true });
    expect((await server.engine.stats()).running).toBe(1);
    expect((await call("POST", "/v1/completions", { model: "gone", prompt: "x" })).status).toBe(404);
    expect((await call("GET", at("gone"))).status).toBe(404);
    expect(kept()).toContain(hash);
  });
  expect(during).toBe(whole);
  await until(async () => (await server.engine.keptVersions()).every((version) => version !== hash), "released");
  // The next change of anything tries again.
  await ok("POST", `${at("up")}/pin`, { pinned: false });
  expect(kept()).not.toContain(hash);
});

test("a version is deleted, but not the current one; its number is not given again", async () => {
  const refused = await call("DELETE", `${at("up")}/versions/1`);
  expect([refused.status, refused.error!.message]).toEqual([409, expect.stringContaining("is the current one")]);
  await ok("DELETE", `${at("up")}/versions/2`);
  expect((await call("DELETE", `${at("up")}/versions/2`)).status).toBe(404);
  expect((await call("DELETE", `${at("up")}/versions/x`)).status).toBe(404);
  expect((await upload("up", folders["lora-3"]!, { publish: "false" })).added!.version).toBe(3);
});

test("vLLM's routes load and unload with vLLM's words; what was uploaded stays, unpublished", async () => {
  const load = (name: string, path: string, more = {}) =>
    call("POST", "/v1/load_lora_adapter", { lora_name: name, lora_path: path, ...more });
  const unload = (name: string) => call("POST", "/v1/unload_lora_adapter", { lora_name: name });
  expect((await load("by-path", folders["prefix-1"]!)).text).toBe(
    "Success: LoRA adapter 'by-path' added successfully.",
  );
  const again = await load("by-path", folders["lora-3"]!);
  expect([again.status, again.error!.message]).toEqual([400, expect.stringContaining("has already been loaded")]);
  expect((await load("by-path", folders["lora-3"]!, { load_inplace: true })).status).toBe(200);
  expect((await api.versions("by-path")).map(({ source }) => source)).toEqual([
    { type: "path", path: folders["lora-3"]! },
    { type: "path", path: folders["prefix-1"]! },
  ]);
  expect((await unload("by-path")).text).toBe("Success: LoRA adapter 'by-path' removed successfully.");
  expect((await call("GET", at("by-path"))).status).toBe(404);
  const missing = await unload("by-path");
  expect([missing.status, missing.error!.message]).toEqual([404, "The lora adapter 'by-path' cannot be found."]);

  expect((await unload("up")).status).toBe(200);
  expect(await api.adapter("up")).toMatchObject({ current_version: null, method: "lora", tier: null, versions: 2 });
  expect(await api.models()).not.toContain("up");
  expect((await ok<AdapterAnswer>("POST", `${at("up")}/rollback`)).current_version).toBe(1);
  expect(await api.models()).toContain("up");
});

test("a folder that changes after it was loaded changes nothing", async () => {
  const path = join(folder, "versions", "changing");
  cpSync(folders["lora-1"]!, path, { recursive: true });
  await ok("POST", "/v1/adapters", { name: "changing", from: { path } });
  const before = await api.text("changing");
  rmSync(path, { recursive: true });
  await ok("POST", `${at("changing")}/publish`, { version: 1 });
  expect(await api.text("changing")).toBe(before);
  await ok("DELETE", "/v1/models/changing");
  expect((await call("DELETE", "/v1/models/changing")).error!.code).toBe("model_not_found");
  const base = await call("DELETE", "/v1/models/graft-micro-llama");
  expect([base.status, base.error!.message]).toEqual([403, expect.stringContaining("is the base")]);
});

test("a composition keeps the versions that its parts had", async () => {
  await upload("a", folders["lora-1"]!);
  await upload("b:2", folders["series-1"]!);
  const compose = { average: ["a", "b:2"], weights: [0.7, 0.3] };
  const answer = await ok<AdapterAnswer>("POST", "/v1/adapters", { name: "both", from: { compose } });
  expect(answer).toMatchObject({ method: "average", versions: 1 });
  expect(answer.added!.source).toEqual({
    type: "compose",
    how: "average",
    of: [
      { adapter: "a", version: 1, weight: 0.7 },
      { adapter: "b:2", version: 1, weight: 0.3 },
    ],
  });
  const text = await api.text("both");
  expect(new Set([text, await api.text("a"), await api.text("b:2")]).size).toBe(3);
  await upload("a", folders["lora-2"]!);
  expect(await api.text("both")).toBe(text);
  // What it is made of now is another one; alone and weighing all it is its part.
  await ok("POST", "/v1/adapters", { name: "alone", from: { compose: { average: ["a"], weights: [1] } } });
  expect(await api.text("alone")).toBe(await api.text("a"));
  await ok("POST", "/v1/adapters", { name: "stacked", from: { compose: { stack: ["a", "a"] } } });
  expect((await api.adapter("stacked")).method).toBe("stack");

  await upload("p", folders["prefix-1"]!);
  for (const [body, param, message] of [
    [{ average: ["a"], stack: ["a"] }, "from.compose", "give one of"],
    [{}, "from.compose", "give one of"],
    [{ average: [] }, "from.compose.average", ""],
    [{ average: ["a", "b:2"], weights: [1] }, "from.compose.weights", "2 adapters and 1 weights"],
    [{ stack: ["a"], weights: [1] }, "from.compose.weights", "takes no weights"],
    [{ average: ["a", "p"] }, null, "virtual tokens"],
    [{ average: ["graft-micro-llama"] }, "from.compose", "is the base"],
  ] as const) {
    const refused = await call("POST", "/v1/adapters", { name: "no", from: { compose: body } });
    expect([refused.status, refused.error!.param]).toEqual([400, param]);
    expect(refused.error!.message).toContain(message);
  }
  expect((await call("POST", "/v1/adapters", { name: "no", from: { compose: { average: ["nobody"] } } })).status).toBe(
    404,
  );
  expect((await call("GET", at("no"))).status).toBe(404);
});

test("a pinned adapter is on the device without being asked", async () => {
  expect(await ok<AdapterAnswer>("POST", `${at("b:2")}/pin`, { pinned: true })).toMatchObject({ pinned: true });
  await until(async () => (await api.adapter("b:2")).tier === "device", "the pinned adapter comes");
  expect(await ok<AdapterAnswer>("POST", `${at("b:2")}/pin`, { pinned: false })).toMatchObject({ pinned: false });
  expect((await call("POST", `${at("nobody")}/pin`, { pinned: true })).status).toBe(404);
  expect((await call("POST", `${at("b:2")}/pin`, { pinned: 1 })).error!.param).toBe("pinned");
});

test("files are downloaded whole, in ranges, and not again", async () => {
  const file = `${server.url}${at("a")}/versions/1/files/adapter_model.safetensors`;
  const bytes = readFileSync(join(folders["lora-1"]!, "adapter_model.safetensors"));
  const whole = await fetch(file);
  const etag = whole.headers.get("etag")!;
  expect(etag).toBe(`"${adapterVersion(folders["lora-1"]!)}"`);
  expect(Buffer.from(await whole.arrayBuffer()).equals(bytes)).toBe(true);
  const range = async (asked: string, more = {}) => {
    const response = await fetch(file, { headers: { range: asked, ...more } });
    return [response.status, response.headers.get("content-range"), Buffer.from(await response.arrayBuffer())] as const;
  };
  const size = bytes.length;
  expect(await range("bytes=3-9")).toEqual([206, `bytes 3-9/${size}`, bytes.subarray(3, 10)]);
  expect(await range("bytes=-5")).toEqual([206, `bytes ${size - 5}-${size - 1}/${size}`, bytes.subarray(-5)]);
  expect((await range(`bytes=${size}-`)).slice(0, 2)).toEqual([416, `bytes */${size}`]);
  for (const odd of ["bytes=9-3", "bytes=1-2,4-5", "apples=1-2", "bytes=-"]) expect((await range(odd))[0]).toBe(200);
  expect((await range("bytes=0-1", { "if-range": '"other"' }))[0]).toBe(200);
  expect((await fetch(file, { headers: { "if-none-match": etag } })).status).toBe(304);
  for (const name of ["adapter_model.bin", "trainer_state.json", "..%2F..%2Fgraft.sqlite", "%00"])
    expect((await call("GET", `${at("a")}/versions/1/files/${name}`)).status).toBe(404);
});

test("many changes of one name at once follow each other, and each version is there once", async () => {
  const answers = await Promise.all([1, 2, 3, 1, 2, 3].map((seed) => upload("busy", folders[`lora-${seed}`]!)));
  expect(new Set(answers.map(({ added }) => added!.version))).toEqual(new Set([1, 2, 3]));
  expect((await api.versions("busy")).length).toBe(3);
  const { current_version: current, hash } = await api.adapter("busy");
  expect(server.engine.adapter("busy")!.version).toBe(hash!);
  expect((await api.versions("busy")).find(({ is_current: isCurrent }) => isCurrent)!.version).toBe(current!);
});

test("names that are none are a 400 that says so", async () => {
  const bad = [
    "",
    "graft-micro-llama",
    "x".repeat(129),
    "a/b",
    "a\\b",
    "..",
    "a..b",
    ".",
    "a\nb",
    "a\0",
    " a",
    "\u202Eabc",
  ];
  for (const name of bad) {
    for (const [path, body, param] of [
      ["/v1/adapters", { name, from: { path: folders["lora-1"] } }, "name"],
      ["/v1/load_lora_adapter", { lora_name: name, lora_path: folders["lora-1"] }, "lora_name"],
    ] as const) {
      const refused = await call("POST", path, body);
      expect([refused.status, refused.error?.param]).toEqual([400, param]);
    }
  }
  await upload("named", folders["lora-1"]!);
  for (const name of ["ft:x:graft::1", "a.b-c_d@1", "日本語", "a b"]) {
    await upload(name, folders["lora-1"]!);
    expect(await api.text(name)).toBe(await api.text("named"));
    await ok("DELETE", at(name));
  }
});

test("only folders that are allowed are looked at, and nothing is said of others", async () => {
  const outside = join(folder, "outside");
  cpSync(folders["lora-1"]!, outside, { recursive: true });
  const load = (path: string) => call("POST", "/v1/load_lora_adapter", { lora_name: "path", lora_path: path });
  const roots = join(folder, "versions");
  const refusals = await Promise.all(
    [outside, `${outside}-nothing`, join(roots, "../outside"), "/etc", "etc", "~", "/", "/proc/self/cwd"].map(load),
  );
  for (const { status, error } of refusals) {
    expect([status, error!.param]).toEqual([403, "lora_path"]);
    expect(error!.message).toBe(refusals[0]!.error!.message);
  }
  expect(await load(join(roots, "nothing"))).toMatchObject({ status: 400 });
  expect((await load("x".repeat(5000))).status).toBe(400);
  // Files of the data directory are read like any others: what is no adapter is none.
  expect((await load(dataDir)).status).toBe(400);
  writeFileSync(join(roots, "file"), "x");
  expect((await load(join(roots, "file"))).status).toBe(400);
  expect(existsSync(outside)).toBe(true);
  expect(server.engine.adapter("path")).toBeUndefined();
});
