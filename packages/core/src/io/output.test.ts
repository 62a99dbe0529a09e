import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../errors/index.ts";
import { appendText, makeFolder, trimJsonLines } from "./output.ts";

const root = mkdtempSync(join(tmpdir(), "graft-output-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("a folder is made with those above it; a file in its place or above it is named", () => {
  makeFolder(join(root, "a", "b"));
  makeFolder(join(root, "a", "b"));
  expect(existsSync(join(root, "a", "b"))).toBe(true);
  const path = join(root, "file");
  writeFileSync(path, "");
  expect(() => makeFolder(path)).toThrow(ConfigError);
  expect(() => makeFolder(path)).toThrow(`${path}: is a file, not a folder; choose another folder`);
  expect(() => makeFolder(join(path, "x"))).toThrow(`${join(path, "x")}: leads through a file; choose another folder`);
});

test.skipIf(!existsSync("/proc/self"))("a folder that cannot be made says what the system said", () => {
  expect(() => makeFolder("/proc/graft")).toThrow("/proc/graft: cannot be made or written to (ENOENT");
});

test.skipIf(!existsSync("/dev/full"))("a log on a full disk is named, and what to do", () => {
  expect(() => appendText("/dev/full", "line\n")).toThrow(
    "/dev/full could not be written to: ENOSPC: no space left on device, write; the disk is full: free some space and try again",
  );
});

test("a log keeps the whole lines that are wanted", () => {
  const path = join(root, "log.jsonl");
  appendText(path, '{"step":1}\n{"step":2}\n');
  appendText(path, '{"step":3}\n{"st');
  trimJsonLines(path, (value) => (value as { step: number }).step <= 2);
  expect(readFileSync(path, "utf8")).toBe('{"step":1}\n{"step":2}\n');
});
