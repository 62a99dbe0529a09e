/** Bytes by their hash, and the lock on the data directory. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { type Blob, lockData, openBlobs, openStore, StorageError } from "../src/db/index.ts";
import { at, newFile } from "./store-rows.ts";

const scratch = mkdtempSync(join(tmpdir(), "blobs-"));
let made = 0;
const newFolder = (): string => join(scratch, `${made++}`);
const sha256 = (content: Uint8Array | string): string => new Bun.CryptoHasher("sha256").update(content).digest("hex");
const text = (content: string): Uint8Array => new TextEncoder().encode(content);
const never = () => Promise.resolve(false);
const always = () => Promise.resolve(true);
const keep = (blob: Blob) => Promise.resolve(blob);
const tree = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .toSorted();

describe("files", () => {
  test("bytes, whole or in chunks, are where their hash says; the same bytes are there once", async () => {
    const data = newFolder();
    const blobs = openBlobs(data);
    const random = new Random(3);
    const content = Uint8Array.from({ length: 100_003 }, () => random.int(256));
    async function* chunks() {
      for (let i = 0; i < content.length; i += 7001) yield content.subarray(i, i + 7001);
      await Promise.resolve();
    }
    const put = [await blobs.put(content, keep), await blobs.put(chunks(), keep)];
    expect(put).toEqual([0, 1].map(() => ({ sha256: sha256(content), bytes: content.length })));
    expect(new Uint8Array(readFileSync(blobs.path(sha256(content))))).toEqual(content);
    await blobs.put(new Response(content).body!, keep);
    expect(await blobs.put(new Uint8Array(), keep)).toEqual({ sha256: sha256(""), bytes: 0 });
    expect(tree(data)).toEqual([sha256(content), sha256("")].toSorted());
  });

  test("an upload that breaks off leaves nothing, and its error is the one that it had", async () => {
    const data = newFolder();
    const blobs = openBlobs(data);
    async function* broken() {
      yield text("the beginning");
      await Promise.resolve();
      throw new RangeError("the client left");
    }
    await expect(blobs.put(broken(), keep)).rejects.toThrow(new RangeError("the client left"));
    expect(tree(data)).toEqual([]);
  });

  test("a row that cannot be written leaves bytes that the next sweep takes; what has a row stays", async () => {
    const data = newFolder();
    const blobs = openBlobs(data);
    const failing = blobs.put(text("a"), () => Promise.reject(new Error("no row")));
    await expect(failing).rejects.toThrow("no row");
    await blobs.put(text("b"), keep);
    const files = (hash: string) => Promise.resolve(hash === sha256("b"));
    expect(await blobs.sweep({ files, folders: never })).toEqual({ partials: 0, files: 1, folders: 0 });
    expect(tree(data)).toEqual([sha256("b")]);
  });

  test("bytes are not removed while somebody has them or is about to", async () => {
    const data = newFolder();
    const blobs = openBlobs(data);
    const rows = new Set<string>();
    const isUsed = (hash: string) => Promise.resolve(rows.has(hash));
    await blobs.put(text("a"), (blob) => Promise.resolve(rows.add(blob.sha256)));
    const hash = sha256("a");
    expect(await blobs.remove(hash, isUsed)).toBe(false);
    // Its only row goes; another upload of the same bytes has come in between and has not written its row yet.
    rows.delete(hash);
    const { promise: written, resolve: write } = Promise.withResolvers<void>();
    const { promise: placed, resolve: place } = Promise.withResolvers<void>();
    const upload = blobs.put(text("a"), async (blob) => {
      place();
      await written;
      rows.add(blob.sha256);
    });
    await placed;
    const removal = blobs.remove(hash, isUsed);
    const sweep = blobs.sweep({ files: isUsed, folders: never });
    write();
    await upload;
    expect([await removal, (await sweep).files]).toEqual([false, 0]);
    expect(existsSync(blobs.path(hash))).toBe(true);
    rows.clear();
    expect(await blobs.remove(hash, isUsed)).toBe(true);
    expect(await blobs.remove(hash, isUsed)).toBe(false);
    expect(tree(data)).toEqual([]);
  });

  test("a sweep leaves an upload that is under way alone, and takes what a crash left", async () => {
    const data = newFolder();
    const blobs = openBlobs(data);
    writeFileSync(join(data, "blobs/sha256/.upload.partial-dead"), "half");
    mkdirSync(join(data, "blobs/adapters/ab/.abcdef0123456789.partial-dead"), { recursive: true });
    const { promise: swept, resolve } = Promise.withResolvers<void>();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    async function* slow() {
      yield text("one ");
      begin();
      await swept;
      yield text("two");
    }
    const upload = blobs.put(slow(), keep);
    await begun;
    const folder = blobs.putFolder(
      "abcdef0123456788",
      async (path) => {
        writeFileSync(join(path, "adapter_config.json"), "{}");
        await swept;
      },
      (path) => Promise.resolve(path),
    );
    expect(await blobs.sweep({ files: always, folders: always })).toEqual({ partials: 2, files: 0, folders: 0 });
    resolve();
    expect((await upload).sha256).toBe(sha256("one two"));
    expect(readdirSync(await folder)).toEqual(["adapter_config.json"]);
  });

  test("a hash that is none leads nowhere", () => {
    const blobs = openBlobs(newFolder());
    for (const hash of ["", "../../etc/passwd", "..", "ABCDEF0123456789", "a".repeat(65), "abcdef0/", "abcdef01\n"]) {
      expect(() => blobs.path(hash)).toThrow("a hash is hexadecimal digits");
      expect(() => blobs.folder(hash)).toThrow("a hash is hexadecimal digits");
    }
  });
});

test("an adapter's folder is there whole or not at all, is written once, and goes when nobody has it", async () => {
  const data = newFolder();
  const blobs = openBlobs(data);
  const hash = "0123456789abcdef";
  let fills = 0;
  const put = (fail = false) =>
    blobs.putFolder(
      hash,
      (folder) => {
        fills++;
        writeFileSync(join(folder, "adapter_config.json"), "{}");
        if (fail) throw new TypeError("damaged");
        writeFileSync(join(folder, "adapter_model.safetensors"), "weights");
      },
      (folder) => Promise.resolve(folder),
    );
  await expect(put(true)).rejects.toThrow(new TypeError("damaged"));
  expect(tree(data)).toEqual([]);
  const folders = await Promise.all([put(), put(), put()]);
  expect(new Set(folders)).toEqual(new Set([blobs.folder(hash)]));
  expect(fills).toBe(2);
  expect(readdirSync(folders[0]!).toSorted()).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
  expect(await blobs.removeFolder(hash, always)).toBe(false);
  expect(await blobs.sweep({ files: never, folders: never })).toEqual({ partials: 0, files: 0, folders: 1 });
  expect(tree(data)).toEqual([]);
});

test("a stage is a folder that goes when the work on it has ended, by itself or by a crash", async () => {
  const data = newFolder();
  const blobs = openBlobs(data);
  const whole = await blobs.stage(async (staged) => {
    writeFileSync(join(staged, "adapter_config.json"), "{}");
    expect((await blobs.sweep({ files: always, folders: always })).partials).toBe(0);
    const move = (folder: string): void =>
      renameSync(join(staged, "adapter_config.json"), join(folder, "adapter_config.json"));
    return blobs.putFolder("0123456789abcdef", move, (folder) => Promise.resolve(folder));
  });
  expect(readdirSync(whole)).toEqual(["adapter_config.json"]);
  await expect(blobs.stage(() => Promise.reject(new TypeError("damaged")))).rejects.toThrow(new TypeError("damaged"));
  expect(tree(data)).toEqual(["adapter_config.json"]);
  mkdirSync(join(data, "blobs/adapters/.stage.partial-dead"));
  writeFileSync(join(data, "blobs/adapters/.stage.partial-dead/adapter_config.json"), "{}");
  expect((await openBlobs(data).sweep({ files: always, folders: always })).partials).toBe(1);
  expect(tree(data)).toEqual(["adapter_config.json"]);
});

// A real full disk, where the tests run as root and may mount one.
const disk = join(scratch, "disk");
mkdirSync(disk);
const mounted =
  process.getuid?.() === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).status === 0;
afterAll(() => {
  // Statements hold the database's files until they are collected.
  Bun.gc(true);
  if (mounted) spawnSync("umount", [disk]);
  rmSync(scratch, { recursive: true, force: true });
});

test.skipIf(!mounted)(
  "a full disk is a StorageError that says so; what was there is whole, and goes on when there is room",
  async () => {
    const store = await openStore({ path: join(disk, "graft.sqlite") });
    const blobs = openBlobs(disk);
    const record = (blob: Blob) => store.createFile(newFile("file-1", blob));
    const { sha256: kept } = await blobs.put(text("kept"), record);
    const large = blobs.put(new Uint8Array(2 ** 21), keep);
    await expect(large).rejects.toThrow(StorageError);
    await expect(blobs.put(new Uint8Array(2 ** 21), keep)).rejects.toThrow(
      "the disk is full: free some space and try again",
    );
    await expect(
      blobs.putFolder(
        "0123456789abcdef",
        (folder) => writeFileSync(join(folder, "w"), new Uint8Array(2 ** 21)),
        () => Promise.resolve(),
      ),
    ).rejects.toThrow("the disk is full");
    expect(tree(join(disk, "blobs"))).toEqual([kept]);
    let failed: unknown;
    let written = 0;
    for (; failed === undefined && written < 1000; written++)
      await store.createFile(newFile(`file-x${written}`, { filename: "n".repeat(5000) })).catch((error: unknown) => {
        failed = error;
      });
    expect(failed).toBeInstanceOf(StorageError);
    expect((failed as Error).message).toContain("the disk is full: free some space and try again");
    expect((await store.files({ limit: 2000 })).data.length).toBe(written);
    spawnSync("mount", ["-o", "remount,size=4m", disk]);
    await store.createFile(newFile("file-2", { createdAt: at }));
    expect((await store.file("file-2")).id).toBe("file-2");
    await store.close();
  },
);

describe("the lock on a data directory", () => {
  const holder = (folder: string) => {
    const source = join(import.meta.dir, "../src/db/index.ts");
    const program = `import { lockData } from ${JSON.stringify(source)}; lockData(${JSON.stringify(folder)}); console.log("locked"); setInterval(() => {}, 1000);`;
    return Bun.spawn([process.execPath, "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  };

  test("is refused while another process has it, with that process' number, and is free once it was killed", async () => {
    const folder = newFolder();
    const other = holder(folder);
    await other.stdout.getReader().read();
    expect(() => lockData(folder)).toThrow(
      new ConfigError(
        `${folder}: another server uses this data directory (process ${other.pid}); stop it, or choose another directory`,
      ),
    );
    other.kill("SIGKILL");
    await other.exited;
    const lock = lockData(folder);
    expect(readFileSync(join(folder, "server.pid"), "utf8")).toBe(`${process.pid}\n`);
    expect(() => lockData(folder)).toThrow(ConfigError);
    lock.release();
    lockData(folder).release();
  });

  test("a directory that cannot be locked says why", () => {
    const folder = newFolder();
    mkdirSync(join(folder, "server.lock"), { recursive: true });
    expect(() => lockData(folder)).toThrow(ConfigError);
    const file = join(scratch, "a-file");
    writeFileSync(file, "");
    expect(() => lockData(file)).toThrow("is a file, not a folder");
  });
});
