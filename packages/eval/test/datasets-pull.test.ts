/** Archives, ends of downloads, full disks and damaged locks; test/pull.test.ts has the rest. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { DownloadError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateRawSync } from "node:zlib";
import { datasetFor, datasets, LOCK_NAME, pullDataset } from "../src/index.ts";
import { readZipped } from "../src/datasets/_unzip.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** A zip archive, its entries deflated or stored in turns. */
function zip(files: Readonly<Record<string, string>>): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [i, [name, content]] of Object.entries(files).entries()) {
    const isDeflated = i % 2 === 0;
    const bytes = text(content);
    const packed = isDeflated ? deflateRawSync(bytes) : bytes;
    const common = new DataView(new ArrayBuffer(26));
    common.setUint16(0, 20, true);
    common.setUint16(4, isDeflated ? 8 : 0, true);
    common.setUint32(10, crc32(bytes), true);
    common.setUint32(14, packed.length, true);
    common.setUint32(18, bytes.length, true);
    common.setUint16(22, name.length, true);
    const shared = new Uint8Array(common.buffer);
    const local = Buffer.concat([text("PK\x03\x04"), shared, text(name), packed]);
    const place = new DataView(new ArrayBuffer(14));
    place.setUint32(10, at, true);
    directory.push(text("PK\x01\x02"), Uint8Array.of(20, 0), shared, new Uint8Array(place.buffer), text(name));
    parts.push(local);
    at += local.length;
  }
  const entries = Buffer.concat(directory);
  const end = new DataView(new ArrayBuffer(18));
  end.setUint16(4, Object.keys(files).length, true);
  end.setUint16(6, Object.keys(files).length, true);
  end.setUint32(8, entries.length, true);
  end.setUint32(12, at, true);
  return Buffer.concat([...parts, entries, text("PK\x05\x06"), new Uint8Array(end.buffer)]);
}

const archive = zip({ "RTE/dev.tsv": "dev ".repeat(500), "RTE/train.tsv": "train", "RTE/other.tsv": "other" });

let content: Record<string, Uint8Array>;
let asked: string[];
beforeEach(() => {
  content = { "/RTE.zip": archive, "/file": text("0123456789") };
  asked = [];
});
const server = Bun.serve({
  port: 0,
  fetch(request) {
    const { pathname } = new URL(request.url);
    const range = request.headers.get("range");
    asked.push(range === null ? pathname : `${pathname} ${range}`);
    const bytes = content[pathname];
    if (!bytes) return new Response("no such file", { status: 404 });
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    if (from >= bytes.length)
      return new Response(null, { status: 416, headers: { "content-range": `bytes */${bytes.length}` } });
    const headers = { etag: '"one"', "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
    return new Response(bytes.slice(from), { status: range === null ? 200 : 206, headers });
  },
});
afterAll(() => server.stop(true));

const newFolder = () => mkdtempSync(join(tmpdir(), "pulls-"));
const rte = ["dev", "train"].map((split) => ({
  url: `${server.url}RTE.zip#RTE/${split}.tsv`,
  path: `RTE/${split}.tsv`,
}));
const file = { name: "own", sources: [{ url: `${server.url}file`, path: "file.txt" }] };
const quick = { retries: 1, retryDelayMs: 0 };

test("an archive comes once, its files are taken out and remembered, and it goes", async () => {
  const folder = newFolder();
  const pulled = await pullDataset({ name: "rte", sources: rte }, folder, quick);
  expect(pulled.map(({ path, state, sizeBytes }) => [path, state, sizeBytes])).toEqual([
    ["RTE/dev.tsv", "pulled", 2000],
    ["RTE/train.tsv", "pulled", 5],
  ]);
  expect(readFileSync(join(folder, "RTE/train.tsv"), "utf8")).toBe("train");
  expect(readdirSync(folder).toSorted()).toEqual(["RTE", LOCK_NAME]);
  expect((await pullDataset({ name: "rte", sources: rte }, folder, quick)).map(({ state }) => state)).toEqual([
    "unchanged",
    "unchanged",
  ]);
  expect(asked).toEqual(["/RTE.zip"]);
  const lock = JSON.parse(readFileSync(join(folder, LOCK_NAME), "utf8")) as { files: Record<string, { url: string }> };
  expect(Object.keys(lock.files)).toEqual(["RTE/dev.tsv", "RTE/train.tsv"]);
  expect(lock.files["RTE/dev.tsv"]!.url).toEndWith("RTE.zip#RTE/dev.tsv");
});

test("an archive with other files than before replaces nothing", async () => {
  const folder = newFolder();
  await pullDataset({ name: "rte", sources: rte }, folder, quick);
  content["/RTE.zip"] = zip({ "RTE/dev.tsv": "another dev", "RTE/train.tsv": "train" });
  writeFileSync(join(folder, "RTE/dev.tsv"), "mine");
  await expect(pullDataset({ name: "rte", sources: rte }, folder, quick)).rejects.toThrow("nothing was replaced");
  expect(readFileSync(join(folder, "RTE/dev.tsv"), "utf8")).toBe("mine");
  content["/RTE.zip"] = zip({ "RTE/readme": "" });
  await expect(pullDataset({ name: "rte", sources: rte }, newFolder(), quick)).rejects.toThrow(
    "has no file RTE/dev.tsv, only RTE/readme",
  );
});

test("a damaged archive is an error that names it, or has the right bytes", () => {
  const folder = newFolder();
  const path = join(folder, "damaged.zip");
  const random = new Random(3);
  let refused = 0;
  for (let round = 0; round < 400; round++) {
    const damaged = Uint8Array.from(archive);
    for (let n = 1 + random.int(3); n > 0; n--) damaged[random.int(damaged.length)] = random.int(256);
    writeFileSync(path, random.int(5) === 0 ? damaged.subarray(0, random.int(damaged.length)) : damaged);
    try {
      expect(new TextDecoder().decode(readZipped(path, "RTE/dev.tsv"))).toBe("dev ".repeat(500));
    } catch (error) {
      expect(error, `round ${round}`).toBeInstanceOf(DownloadError);
      expect((error as Error).message).toStartWith(`${path}: `);
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(100);
});

test("a download that broke off behind its last byte is whole; what is longer begins anew", async () => {
  for (const [part, requests] of [
    ["0123456789", ["/file bytes=10-"]],
    ["0123456789 and more", ["/file bytes=19-", "/file"]],
  ] as const) {
    const folder = newFolder();
    writeFileSync(join(folder, "file.txt.part"), part);
    writeFileSync(join(folder, "file.txt.part.etag"), '"one"');
    asked = [];
    await pullDataset(file, folder, quick);
    expect(asked).toEqual([...requests]);
    expect(readFileSync(join(folder, "file.txt"), "utf8")).toBe("0123456789");
    expect(readdirSync(folder).toSorted()).toEqual([LOCK_NAME, "file.txt"]);
  }
});

test("a part whose origin nobody knows begins anew", async () => {
  const folder = newFolder();
  writeFileSync(join(folder, "file.txt.part"), "xxxxx");
  await pullDataset(file, folder, quick);
  expect(asked).toEqual(["/file"]);
  expect(readFileSync(join(folder, "file.txt"), "utf8")).toBe("0123456789");
});

test("a file that lay there before any pull is kept, and nobody is asked", async () => {
  const folder = newFolder();
  writeFileSync(join(folder, "file.txt"), "my own");
  expect(await pullDataset(file, folder, quick)).toMatchObject([{ path: "file.txt", state: "kept", sizeBytes: 6 }]);
  expect(asked).toEqual([]);
  expect(existsSync(join(folder, LOCK_NAME))).toBe(false);
});

test("a full disk is named, what arrived stays, and the next pull goes on there", async () => {
  const folder = newFolder();
  const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  const part = join(folder, "file.txt.part");
  await expect(
    pullDataset(file, folder, {
      ...quick,
      write() {
        throw full;
      },
    }),
  ).rejects.toThrow(
    `${part} could not be written: no space left on device; the disk is full: free some space and try again`,
  );
  expect(existsSync(join(folder, "file.txt"))).toBe(false);
  writeFileSync(part, "0123");
  await pullDataset(file, folder, quick);
  expect(asked).toEqual(["/file", "/file bytes=4-"]);
  expect(readFileSync(join(folder, "file.txt"), "utf8")).toBe("0123456789");
});

test("a damaged lock is named with what is wrong in it", async () => {
  const folder = newFolder();
  writeFileSync(
    join(folder, LOCK_NAME),
    JSON.stringify({ files: { "file.txt": { url: "u", sha256: "abc", sizeBytes: 1 } } }),
  );
  writeFileSync(join(folder, "file.txt"), "x");
  await expect(pullDataset(file, folder, quick)).rejects.toThrow(`${join(folder, LOCK_NAME)}: files.file.txt.sha256`);
  truncateSync(join(folder, LOCK_NAME));
  await expect(pullDataset(file, folder, quick)).rejects.toThrow("is not valid JSON");
});

test("a folder that cannot be made is named before anything is asked", async () => {
  const folder = newFolder();
  mkdirSync(join(folder, "a"));
  writeFileSync(join(folder, "a/b"), "");
  await expect(pullDataset(file, join(folder, "a/b/c"), quick)).rejects.toThrow("leads through a file");
  expect(asked).toEqual([]);
});

test("every source is a whole address, and its path is one of those that are looked for or stands beside one", () => {
  for (const { name, sources, files } of Object.values(datasets)) {
    const known = Object.values(files).flat();
    const folders = new Set(known.map((path) => path.split("/")[0]));
    for (const { url, path, sha256 } of sources) {
      expect(new URL(url).protocol, name).toBe("https:");
      expect(path.includes(".."), name).toBe(false);
      expect(folders.has(path.split("/")[0]!), `${name}: ${path}`).toBe(true);
      if (sha256 !== undefined) expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    }
    if (sources.length > 0)
      expect(
        sources.some(({ path }) => known.some((one) => path === one || path === `${one}.gz`)),
        name,
      ).toBe(true);
  }
  expect(
    datasetFor("mnli")
      .sources.map(({ path }) => path)
      .toSorted(),
  ).toEqual(
    datasetFor("mnli_mismatch")
      .sources.map(({ path }) => path)
      .toSorted(),
  );
});
