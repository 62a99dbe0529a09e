/** One file out of a zip archive. */
import { DownloadError } from "@graft/core/errors";
import { type UnzipFileInfo, unzipSync } from "fflate";
import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";

/** The bytes of the file of that name. Throws DownloadError naming the archive if it is damaged or has no such file. */
export function readZipped(path: string, name: string): Uint8Array {
  const archive = readFileSync(path);
  const names: string[] = [];
  const filter = (file: UnzipFileInfo): boolean => {
    names.push(file.name);
    return file.name === name;
  };
  let found: Uint8Array | undefined;
  try {
    found = unzipSync(archive, { filter })[name];
  } catch (cause) {
    throw new DownloadError(
      `${path}: is no zip archive, or damaged (${cause instanceof Error ? cause.message : String(cause)})`,
      { cause },
    );
  }
  if (!found) throw new DownloadError(`${path}: has no file ${name}, only ${names.slice(0, 20).join(", ") || "none"}`);
  if (crc32(found) !== checksumOf(archive, name))
    throw new DownloadError(`${path}: ${name} does not have the checksum that the archive says`);
  return found;
}

/** CRC-32 of an entry in the archive's directory, which fflate does not look at. APPNOTE.TXT 6.3.10, section 4.3.12. */
function checksumOf(archive: Buffer, name: string): number | undefined {
  // The directory comes last, so there the name stands for the last time, behind 46 bytes of its own.
  const entry = archive.lastIndexOf(name) - 46;
  const isEntry = entry >= 0 && archive.readUInt32LE(entry) === 0x02014b50;
  return isEntry ? archive.readUInt32LE(entry + 16) : undefined;
}
