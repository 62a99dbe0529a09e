/** The directory of a zip archive whose entries are stored, not compressed, as PyTorch writes them. APPNOTE.TXT 6.3.10, zip64 included. */
import { CheckpointError } from "../errors/index.ts";
import type { RandomFile } from "./_read.ts";

/** Where an entry's bytes lie in the file. */
export interface ZipEntry {
  readonly name: string;
  readonly begin: number;
  readonly bytes: number;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const MAX_COMMENT = 0xffff;
/** A directory beyond this is damaged: torch needs about 100 bytes for a tensor. */
const MAX_DIRECTORY_BYTES = 100_000_000;

/** The entries by name. Throws CheckpointError naming the file and the entry if anything lies outside the file, is compressed or encrypted, or has the name of another. */
export function readZipDirectory(file: RandomFile): Map<string, ZipEntry> {
  const fail = (problem: string): never => {
    throw new CheckpointError(`${file.path}: ${problem}`);
  };
  const view = (position: number, length: number, what: string): DataView => {
    if (position < 0 || position + length > file.size) fail(`${what} lies outside the file; truncated?`);
    const bytes = new Uint8Array(length);
    file.read(position, bytes, what);
    return new DataView(bytes.buffer);
  };
  const big = (data: DataView, at: number, what: string): number => {
    const value = data.getBigUint64(at, true);
    return value <= BigInt(file.size) ? Number(value) : fail(`${what} is ${value}, the file has ${file.size} bytes`);
  };

  const tailBegin = Math.max(0, file.size - END_BYTES - MAX_COMMENT);
  const tail = view(tailBegin, file.size - tailBegin, "the zip directory's end");
  let end = tail.byteLength - END_BYTES;
  while (
    end >= 0 &&
    !(tail.getUint32(end, true) === END && end + END_BYTES + tail.getUint16(end + 20, true) === tail.byteLength)
  )
    end--;
  if (end < 0) fail("no zip archive, or truncated");
  let count = tail.getUint16(end + 10, true);
  let directoryBytes = tail.getUint32(end + 12, true);
  let directoryBegin = tail.getUint32(end + 16, true);
  if (count === 0xffff || directoryBytes === 0xffffffff || directoryBegin === 0xffffffff) {
    const locator = view(tailBegin + end - 20, 20, "the zip64 locator");
    if (locator.getUint32(0, true) !== END64_LOCATOR) fail("its zip64 locator is missing");
    const end64 = view(big(locator, 8, "the zip64 directory's place"), 56, "the zip64 directory's end");
    if (end64.getUint32(0, true) !== END64) fail("its zip64 directory end is missing");
    count = big(end64, 32, "the number of entries");
    directoryBytes = big(end64, 40, "the zip directory's size");
    directoryBegin = big(end64, 48, "the zip directory's place");
  }
  if (directoryBytes > MAX_DIRECTORY_BYTES) fail(`its zip directory claims ${directoryBytes} bytes`);
  const directory = view(directoryBegin, directoryBytes, "the zip directory");

  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > directoryBytes || directory.getUint32(at, true) !== CENTRAL)
      fail(`entry ${i} of its zip directory is damaged`);
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) =>
      directory.getUint16(at + offset, true),
    ) as [number, number, number]; // three reads
    const next = at + 46 + nameBytes + extraBytes + commentBytes;
    if (next > directoryBytes) fail(`entry ${i} of its zip directory is damaged`);
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, at + 46, nameBytes));
    const what = `zip entry ${name}`;
    if (entries.has(name)) fail(`${what} occurs twice`);
    if (directory.getUint16(at + 8, true) & 1) fail(`${what} is encrypted`);
    if (directory.getUint16(at + 10, true) !== 0) fail(`${what} is compressed; torch.save stores its entries`);
    const extra = new DataView(directory.buffer, at + 46 + nameBytes, extraBytes);
    const [bytes, stored, begin] = largeFields(
      extra,
      [24, 20, 42].map((offset) => directory.getUint32(at + offset, true)),
      (reason) => fail(`${what}: ${reason}`),
    ) as [number, number, number]; // as many as went in
    if (bytes !== stored) fail(`${what} has ${stored} stored bytes for ${bytes}`);
    const local = view(begin, 30, `${what}'s header`);
    if (local.getUint32(0, true) !== LOCAL) fail(`${what} is not where the directory says`);
    const dataBegin = begin + 30 + local.getUint16(26, true) + local.getUint16(28, true);
    if (dataBegin + bytes > file.size)
      fail(`${what} ends at byte ${dataBegin + bytes}, the file has ${file.size}; truncated?`);
    entries.set(name, { name, begin: dataBegin, bytes });
    at = next;
  }
  return entries;
}

/** Replaces each 0xffffffff by the next number of the zip64 extra field. */
function largeFields(extra: DataView, small: readonly number[], fail: (reason: string) => never): number[] {
  let zip64: DataView | undefined;
  for (let at = 0; at + 4 <= extra.byteLength;) {
    const [id, length] = [extra.getUint16(at, true), extra.getUint16(at + 2, true)];
    if (at + 4 + length > extra.byteLength) fail("its extra field is damaged");
    if (id === 1) zip64 = new DataView(extra.buffer, extra.byteOffset + at + 4, length);
    at += 4 + length;
  }
  let at = 0;
  return small.map((value) => {
    if (value !== 0xffffffff) return value;
    if (!zip64 || at + 8 > zip64.byteLength) return fail("its zip64 field is missing");
    const large = zip64.getBigUint64(at, true);
    at += 8;
    return large <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(large) : fail(`its zip64 field says ${large}`);
  });
}
