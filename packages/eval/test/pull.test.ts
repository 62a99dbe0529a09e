/** Fetching data sets from a server of our own. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { zipSync } from "fflate";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { datasetFor, type PulledFile, pullDataset } from "../src/index.ts";

const bytes = Uint8Array.from({ length: 50_000 }, (_, i) => (i * 31) % 251);
const sha256 = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");

/** How the server behaves; each test sets what it needs. */
let served: { content: Uint8Array; etag: string | undefined; cutAfter: number[]; hasRanges: boolean; status: number };
let requests: { range: string | null; ifRange: string | null }[];
beforeEach(() => {
  served = { content: bytes, etag: '"one"', cutAfter: [], hasRanges: true, status: 200 };
  requests = [];
});

/** A connection that breaks off when the client has so many bytes. */
let breaking: { at: number; now: () => void } | undefined;
const breakOff = ({ bytes: done }: { readonly bytes: number }): void => {
  if (!breaking || done < breaking.at) return;
  breaking.now();
  breaking = undefined;
};

const server = createServer((request, response) => {
  const { range, "if-range": ifRange } = request.headers;
  requests.push({ range: range ?? null, ifRange: ifRange === undefined ? null : String(ifRange) });
  if (served.status !== 200) return void response.writeHead(served.status).end("no");
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  const isPart = served.hasRanges && from > 0 && ifRange === served.etag;
  if (isPart && from >= served.content.length) return void response.writeHead(416).end();
  const body = served.content.subarray(isPart ? from : 0);
  response.writeHead(isPart ? 206 : 200, {
    "content-length": body.length,
    ...(isPart ? { "content-range": `bytes ${from}-${served.content.length - 1}/${served.content.length}` } : {}),
    ...(served.etag === undefined ? {} : { etag: served.etag }),
  });
  const cut = served.cutAfter.shift();
  if (cut === undefined) return void response.end(body);
  // Breaks off in the middle.
  breaking = { at: cut + (isPart ? from : 0), now: () => response.socket?.destroy() };
  response.write(body.subarray(0, cut));
});
await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
afterAll(() => void server.close());

const set = (more: object = {}) => ({
  ...datasetFor("gsm8k"),
  name: "own",
  sources: [{ url: `${address}file`, path: "own/test.json", ...more }],
});
const newFolder = () => mkdtempSync(join(tmpdir(), "pull-"));
const options = { retries: 2, retryDelayMs: 1, onProgress: breakOff };
const oneTry = { retries: 0, onProgress: breakOff };
const contentOf = (folder: string) => new Uint8Array(readFileSync(join(folder, "own/test.json")));

test("a file is fetched whole, remembered, and not fetched again", async () => {
  const folder = newFolder();
  const seen: number[] = [];
  const first = await pullDataset(set(), folder, { ...options, onProgress: ({ bytes: done }) => seen.push(done) });
  const want: PulledFile = {
    path: "own/test.json",
    sha256: sha256(bytes),
    sizeBytes: bytes.length,
    state: "pulled",
  };
  expect(first).toEqual([want]);
  expect(contentOf(folder)).toEqual(bytes);
  expect(seen.at(-1)).toBe(bytes.length);
  expect(readdirSync(join(folder, "own"))).toEqual(["test.json"]);
  expect(await pullDataset(set(), folder, options)).toEqual([{ ...want, state: "unchanged" }]);
  expect(requests).toHaveLength(1);
});

test("a download that breaks off goes on where it was, within a call and in the next one", async () => {
  const folder = newFolder();
  served.cutAfter = [10_000, 15_000];
  await pullDataset(set(), folder, options);
  expect(contentOf(folder)).toEqual(bytes);
  expect(requests.map(({ range }) => range)).toEqual([null, "bytes=10000-", "bytes=25000-"]);
  expect(requests[1]!.ifRange).toBe('"one"');

  const other = newFolder();
  served.cutAfter = [20_000];
  requests = [];
  await expect(pullDataset(set(), other, oneTry)).rejects.toThrow(
    /broke off .*\(20000 bytes\) will be continued next time/,
  );
  expect(existsSync(join(other, "own/test.json"))).toBe(false);
  await pullDataset(set(), other, options);
  expect(contentOf(other)).toEqual(bytes);
  expect(requests.map(({ range }) => range)).toEqual([null, "bytes=20000-"]);
});

test("a file that has changed in between, a server without ranges or names for its files: from the beginning", async () => {
  for (const change of [{ etag: '"two"', content: bytes.toReversed() }, { hasRanges: false }, { etag: undefined }]) {
    const folder = newFolder();
    served = {
      content: bytes,
      etag: "etag" in change && change.etag === undefined ? undefined : '"one"',
      cutAfter: [9_000],
      hasRanges: true,
      status: 200,
    };
    await expect(pullDataset(set(), folder, oneTry)).rejects.toThrow("continued next time");
    Object.assign(served, change);
    await pullDataset(set(), folder, options);
    expect(contentOf(folder)).toEqual(Uint8Array.from(served.content));
  }
});

test("what is longer than the file by now is thrown away", async () => {
  const folder = newFolder();
  served.cutAfter = [30_000];
  await expect(pullDataset(set(), folder, oneTry)).rejects.toThrow("continued next time");
  served.content = bytes.slice(0, 20_000);
  await pullDataset(set(), folder, options);
  expect(contentOf(folder)).toEqual(Uint8Array.from(served.content));
});

test("another checksum is refused, and what was there stays", async () => {
  const folder = newFolder();
  await expect(pullDataset(set({ sha256: "0".repeat(64) }), folder, options)).rejects.toThrow(
    "0000 Graft knows; nothing was replaced",
  );
  expect(existsSync(join(folder, "own/test.json"))).toBe(false);
  await pullDataset(set(), folder, options);
  served.content = bytes.toReversed();
  served.etag = '"two"';
  // Changed here: it is fetched again, and must be what it was.
  writeFileSync(join(folder, "own/test.json"), "damaged");
  await expect(pullDataset(set(), folder, options)).rejects.toThrow(
    /is in .*datasets\.lock\.json; nothing was replaced/,
  );
  expect(readFileSync(join(folder, "own/test.json"), "utf8")).toBe("damaged");
  served.content = bytes;
  await pullDataset(set(), folder, options);
  expect(contentOf(folder)).toEqual(bytes);
});

test("what cannot be fetched is said with its address", async () => {
  served.status = 404;
  await expect(pullDataset(set(), newFolder(), options)).rejects.toThrow(
    /file: the server answers 404: the file is not there any more/,
  );
  expect(requests).toHaveLength(1);
  served.status = 503;
  await expect(pullDataset(set(), newFolder(), options)).rejects.toThrow("the server answers 503");
  // The first one and two more.
  expect(requests).toHaveLength(4);
  const gone = { ...set(), sources: [{ url: "http://127.0.0.1:1/file", path: "a.json" }] };
  await expect(pullDataset(gone, newFolder(), options)).rejects.toThrow("cannot be reached");
  await expect(pullDataset({ ...set(), sources: [] }, newFolder())).rejects.toThrow("cannot be pulled");
  const file = join(newFolder(), "file");
  writeFileSync(file, "");
  await expect(pullDataset(set(), file, options)).rejects.toThrow("is a file, not a folder");
});

test("stopped in the middle, it keeps what it has", async () => {
  const folder = newFolder();
  served.cutAfter = [8_000, 8_000, 8_000, 8_000];
  const stopper = new AbortController();
  const running = pullDataset(set(), folder, {
    ...options,
    signal: stopper.signal,
    onProgress: ({ bytes: done }) => done >= 8_000 && stopper.abort(),
  });
  await expect(running).rejects.toThrow("aborted");
  served.cutAfter = [];
  await pullDataset(set(), folder, options);
  expect(requests.at(-1)!.range).toMatch(/^bytes=\d+-$/);
  expect(contentOf(folder)).toEqual(bytes);
});

test("a file inside an archive is taken out of it, and a damaged archive is refused", async () => {
  const inside = new TextEncoder().encode("sentence\tlabel\na fine film\t1\n");
  served.content = zipSync({ "SST-2/dev.tsv": inside, "SST-2/original/x.txt": new Uint8Array(3000) });
  const own = (member: string) => ({
    ...set(),
    sources: [{ url: `${address}SST-2.zip#${member}`, path: "SST-2/dev.tsv" }],
  });
  const folder = newFolder();
  const [file] = await pullDataset(own("SST-2/dev.tsv"), folder, options);
  expect(file).toMatchObject({ path: "SST-2/dev.tsv", sha256: sha256(inside), state: "pulled" });
  expect(new Uint8Array(readFileSync(join(folder, "SST-2/dev.tsv")))).toEqual(inside);
  await expect(pullDataset(own("dev.tsv"), newFolder(), options)).rejects.toThrow(
    "has no file dev.tsv, only SST-2/dev.tsv",
  );
  const whole = served.content;
  for (const damaged of [whole.slice(0, 100), bytes, new Uint8Array(0)]) {
    served.content = damaged;
    await expect(pullDataset(own("SST-2/dev.tsv"), newFolder(), options)).rejects.toThrow(/SST-2\.zip/);
  }
});
