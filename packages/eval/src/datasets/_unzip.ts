/** One file out of a zip archive. APPNOTE.TXT 6.3.10, without zip64 and encryption. */
import { DownloadError } from "@graft/core/errors";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { crc32, inflateRawSync } from "node:zlib";

const END = 0x06054b50;
const END_BYTES = 22;
const CENTRAL = 0x02014b50;
const CENTRAL_BYTES = 46;
const LOCAL = 0x04034b50;
const LOCAL_BYTES = 30;
const MAX_COMMENT = 0xffff;
const STORED = 0;
const DEFLATED = 8;

/** The bytes of the file of that name. Throws DownloadError naming the archive if it is damaged or has no such file. */
export function readZipped(path: string, name: string): Uint8Array {
  const file = openSync(path, "r");
  try {
    return readMember({ path, size: fstatSync(file).size, file }, name);
  } finally {
    closeSync(file);
  }
}

interface Archive {
  readonly path: string;
  readonly file: number;
  readonly size: number;
}

function readMember(archive: Archive, name: string): Uint8Array {
  const entry = entryOf(archive, name);
  const local = view(archive, entry.at, LOCAL_BYTES);
  if (local.getUint32(0, true) !== LOCAL) fail(archive, `the entry ${name} is not where the directory says`);
  const begin = entry.at + LOCAL_BYTES + local.getUint16(26, true) + local.getUint16(28, true);
  const packed = read(archive, begin, entry.packedBytes);
  const bytes = entry.method === STORED ? packed : inflate(archive, name, packed, entry.bytes);
  if (bytes.length !== entry.bytes || crc32(bytes) !== entry.crc)
    fail(archive, `the entry ${name} does not have its checksum`);
  return bytes;
}

function entryOf(archive: Archive, name: string) {
  const tailBegin = Math.max(0, archive.size - END_BYTES - MAX_COMMENT);
  const tail = view(archive, tailBegin, archive.size - tailBegin);
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== END) end--;
  if (end < 0) fail(archive, "is no zip archive, or is cut short");
  const count = tail.getUint16(end + 10, true);
  const directory = view(archive, tail.getUint32(end + 16, true), tail.getUint32(end + 12, true));
  const names: string[] = [];
  for (let at = 0, i = 0; i < count; i++) {
    if (at + CENTRAL_BYTES > directory.byteLength || directory.getUint32(at, true) !== CENTRAL)
      fail(archive, "its directory is damaged");
    const nameBytes = directory.getUint16(at + 28, true);
    if (at + CENTRAL_BYTES + nameBytes > directory.byteLength) fail(archive, "its directory is damaged");
    const own = new TextDecoder().decode(new Uint8Array(directory.buffer, at + CENTRAL_BYTES, nameBytes));
    if (own === name) {
      const method = directory.getUint16(at + 10, true);
      const isEncrypted = (directory.getUint16(at + 8, true) & 1) === 1;
      if (isEncrypted || (method !== STORED && method !== DEFLATED))
        fail(archive, `the entry ${name} is ${isEncrypted ? "encrypted" : `packed with method ${method}`}`);
      return {
        method,
        crc: directory.getUint32(at + 16, true),
        packedBytes: directory.getUint32(at + 20, true),
        bytes: directory.getUint32(at + 24, true),
        at: directory.getUint32(at + 42, true),
      };
    }
    names.push(own);
    at += CENTRAL_BYTES + nameBytes + directory.getUint16(at + 30, true) + directory.getUint16(at + 32, true);
  }
  return fail(archive, `has no file ${name}, only ${names.slice(0, 20).join(", ") || "none"}`);
}

function inflate(archive: Archive, name: string, packed: Uint8Array, bytes: number): Uint8Array {
  try {
    // One byte more than it claims is damage, not data.
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, bytes) });
  } catch (cause) {
    throw new DownloadError(`${archive.path}: the entry ${name} is damaged`, { cause });
  }
}

function view(archive: Archive, at: number, length: number): DataView {
  return new DataView(read(archive, at, length).buffer);
}

function read(archive: Archive, at: number, length: number): Uint8Array<ArrayBuffer> {
  if (at + length > archive.size) fail(archive, "an entry lies outside the file; is it cut short?");
  const bytes = new Uint8Array(length);
  for (let have = 0; have < length;) {
    const got = readSync(archive.file, bytes, have, length - have, at + have);
    if (got === 0) fail(archive, "ended while it was read");
    have += got;
  }
  return bytes;
}

function fail({ path }: Archive, problem: string): never {
  throw new DownloadError(`${path}: ${problem}`);
}
