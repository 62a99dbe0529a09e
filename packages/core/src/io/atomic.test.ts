import { afterAll, beforeEach, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  openAtomic,
  recoverFolder,
  removePartials,
  writeFileAtomic,
  writeFilesAtomic,
  writeFolderAtomic,
} from "./atomic.ts";

const root = mkdtempSync(join(tmpdir(), "graft-atomic-"));
let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

const noSpace = Object.assign(new Error("ENOSPC: no space left on device, write"), {
  code: "ENOSPC",
  syscall: "write",
});

test("a file is replaced whole and no temporary file stays", () => {
  const path = join(folder, "deep", "a.txt");
  writeFileAtomic(path, ["old"]);
  writeFileAtomic(path, ["new ", new TextEncoder().encode("text")]);
  expect(readFileSync(path, "utf8")).toBe("new text");
  expect(readdirSync(join(folder, "deep"))).toEqual(["a.txt"]);
});

test("a disk that fails after some bytes leaves the old file and says what to do", () => {
  const path = join(folder, "a.bin");
  writeFileAtomic(path, ["old"]);
  let taken = 0;
  const write = (file: number, bytes: Uint8Array, offset: number, length: number): number => {
    if (taken >= 10) throw noSpace;
    const some = writeSync(file, bytes, offset, Math.min(length, 3)); // short writes are continued
    taken += some;
    return some;
  };
  expect(() => writeFileAtomic(path, [new Uint8Array(1000)], { write })).toThrow(
    `${path} could not be written, what was there is unchanged: ENOSPC: no space left on device, write; the disk is full: free some space and try again`,
  );
  expect(taken).toBe(12);
  expect(readFileSync(path, "utf8")).toBe("old");
  expect(readdirSync(folder)).toEqual(["a.bin"]);
});

test("short writes are continued to the last byte", () => {
  const path = join(folder, "a.bin");
  const content = Uint8Array.from({ length: 100 }, (_, i) => i);
  writeFileAtomic(path, [content], { write: (f, b, offset, length) => writeSync(f, b, offset, Math.min(length, 7)) });
  expect(new Uint8Array(readFileSync(path))).toEqual(content);
});

test("an error of whoever makes the bytes is thrown as it is", () => {
  const path = join(folder, "a.bin");
  const mine = new TypeError("mine");
  const chunks = function* () {
    yield "some";
    throw mine;
  };
  expect(() => writeFileAtomic(path, chunks())).toThrow(mine);
  expect(readdirSync(folder)).toEqual([]);
});

test("a symbolic link is replaced, what it points at is not touched", () => {
  writeFileSync(join(folder, "blob"), "blob");
  symlinkSync("blob", join(folder, "link"));
  writeFileAtomic(join(folder, "link"), ["mine"]);
  expect(readFileSync(join(folder, "blob"), "utf8")).toBe("blob");
  expect(readFileSync(join(folder, "link"), "utf8")).toBe("mine");
});

test("an open atomic file is invisible until commit and gone after abort", () => {
  const path = join(folder, "a");
  const file = openAtomic(path);
  file.write("text");
  expect(readdirSync(folder)).not.toContain("a");
  file.commit();
  file.abort();
  expect(readdirSync(folder)).toEqual(["a"]);
  const second = openAtomic(path);
  second.abort();
  expect(readdirSync(folder)).toEqual(["a"]);
});

test("a path that is a folder cannot be written as a file, and is left alone", () => {
  mkdirSync(join(folder, "a"));
  expect(() => writeFileAtomic(join(folder, "a"), ["x"])).toThrow("could not be written, what was there is unchanged");
  expect(readdirSync(folder)).toEqual(["a"]);
});

test("a folder is replaced whole", async () => {
  const path = join(folder, "checkpoint");
  await writeFolderAtomic(path, (temporary) => writeFileSync(join(temporary, "old"), "1"));
  await writeFolderAtomic(path, async (temporary) => {
    mkdirSync(join(temporary, "sub"));
    await Bun.write(join(temporary, "sub", "new"), "2");
  });
  expect(readdirSync(path, { recursive: true }).toSorted()).toEqual(["sub", join("sub", "new")]);
  expect(readdirSync(folder)).toEqual(["checkpoint"]);
});

test("a folder whose filling fails is not replaced", async () => {
  const path = join(folder, "checkpoint");
  await writeFolderAtomic(path, (temporary) => writeFileSync(join(temporary, "old"), "1"));
  const failing = writeFolderAtomic(path, (temporary) => {
    writeFileSync(join(temporary, "new"), "2");
    throw noSpace;
  });
  await expect(failing).rejects.toThrow("the disk is full");
  expect(readdirSync(path)).toEqual(["old"]);
  expect(readdirSync(folder)).toEqual(["checkpoint"]);
});

test("files that belong together are replaced together or not at all, and others stay", async () => {
  const write = (text: string, failure?: Error) =>
    writeFilesAtomic(folder, (temporary) => {
      writeFileAtomic(join(temporary, "a"), [text]);
      if (failure) throw failure;
      writeFileAtomic(join(temporary, "b"), [text]);
    });
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  mkdirSync(join(folder, "other"));
  await write("old");
  await expect(write("new", noSpace)).rejects.toThrow(
    `${folder} could not be written, what was there is unchanged: ENOSPC`,
  );
  expect([read("a"), read("b")]).toEqual(["old", "old"]);
  await write("new");
  expect([read("a"), read("b")]).toEqual(["new", "new"]);
  expect(readdirSync(folder).toSorted()).toEqual(["a", "b", "other"]);
});

test("a disk error inside a temporary folder is told of the folder's own name", async () => {
  const path = join(folder, "checkpoint");
  const failing = writeFolderAtomic(path, (temporary) => {
    const write = (): number => {
      throw noSpace;
    };
    writeFileAtomic(join(temporary, "weights"), ["x"], { write });
  });
  await expect(failing).rejects.toThrow(`${path} could not be written, what was there is unchanged: ENOSPC: no space`);
});

test("a replacement cut in half by a crash is undone", () => {
  const path = join(folder, "checkpoint");
  mkdirSync(join(folder, ".checkpoint.previous"));
  writeFileSync(join(folder, ".checkpoint.previous", "old"), "1");
  expect(recoverFolder(path)).toBe(true);
  expect(readdirSync(path)).toEqual(["old"]);
  expect(recoverFolder(path)).toBe(false);
});

test("what a killed writer left is found and removed, other hidden files are not", () => {
  writeFileSync(join(folder, ".keep"), "");
  const path = join(folder, "a.bin");
  const script = `import { openAtomic } from ${JSON.stringify(join(import.meta.dir, "atomic.ts"))};
    openAtomic(${JSON.stringify(path)}).write("half"); process.kill(process.pid, "SIGKILL");`;
  const { signal } = spawnSync(process.execPath, ["-e", script]);
  expect(signal).toBe("SIGKILL");
  expect(readdirSync(folder)).toHaveLength(2);
  expect(removePartials(folder)).toHaveLength(1);
  expect(readdirSync(folder)).toEqual([".keep"]);
});

// A real full disk, where the tests run as root and may mount one.
const disk = join(root, "disk");
mkdirSync(disk);
const mounted =
  process.getuid?.() === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).status === 0;
afterAll(() => {
  if (mounted) spawnSync("umount", [disk]);
  rmSync(root, { recursive: true, force: true });
});

test.skipIf(!mounted)("a really full disk leaves the previous file and folder whole", async () => {
  const path = join(disk, "model.bin");
  const old = new Uint8Array(20_000).fill(7);
  writeFileAtomic(path, [old]);
  expect(() => writeFileAtomic(path, [new Uint8Array(40_000), new Uint8Array(40_000)])).toThrow("the disk is full");
  expect(new Uint8Array(readFileSync(path))).toEqual(old);
  await writeFolderAtomic(join(disk, "checkpoint"), (t) => writeFileAtomic(join(t, "w"), ["old"]));
  await expect(
    writeFolderAtomic(join(disk, "checkpoint"), (t) => writeFileAtomic(join(t, "w"), [new Uint8Array(80_000)])),
  ).rejects.toThrow("the disk is full");
  expect(readFileSync(join(disk, "checkpoint", "w"), "utf8")).toBe("old");
  expect(readdirSync(disk).toSorted()).toEqual(["checkpoint", "model.bin"]);
});
