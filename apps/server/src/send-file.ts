/** Files that never change under their address, whole or in part. */
import { join } from "node:path";

/** Answers with a file; 304 where the client has it, 206 for one range, 416 for a range outside of it (RFC 9110, sections 13 and 14). `tag`: a hash of the content. */
export function sendFile(request: Request, folder: string, name: string, tag: string): Response {
  const file = Bun.file(join(folder, name));
  const etag = `"${tag}"`;
  const headers = new Headers({
    etag,
    "accept-ranges": "bytes",
    "cache-control": "private, no-cache",
    "content-type": "application/octet-stream",
    "content-disposition": `attachment; filename="${name}"`,
  });
  const known = request.headers.get("if-none-match");
  if (known !== null && known.split(",").some((one) => ["*", etag].includes(one.trim().replace(/^W\//, ""))))
    return new Response(null, { status: 304, headers });
  const condition = request.headers.get("if-range");
  const range = condition === null || condition === etag ? rangeOf(request.headers.get("range"), file.size) : undefined;
  if (range === undefined) return new Response(file, { headers });
  if (range === "outside") {
    headers.set("content-range", `bytes */${file.size}`);
    return new Response(null, { status: 416, headers });
  }
  const [first, last] = range;
  headers.set("content-range", `bytes ${first}-${last}/${file.size}`);
  return new Response(file.slice(first, last + 1), { status: 206, headers });
}

/** First and last byte; undefined for what is no range, or several, which a server may ignore. */
function rangeOf(header: string | null, size: number): [number, number] | "outside" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const [from, to] = [match[1]!, match[2]!];
  // The last so many bytes.
  if (from === "") return Number(to) === 0 || size === 0 ? "outside" : [Math.max(0, size - Number(to)), size - 1];
  const first = Number(from);
  const last = to === "" ? size - 1 : Math.min(Number(to), size - 1);
  if (to !== "" && Number(to) < first) return undefined;
  return first >= size ? "outside" : [first, last];
}
