import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DownloadError } from "../errors/index.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { type HubOptions, hubOptionsFrom, type HubProgress, resolveModel } from "./hub.ts";
import { encodeSafetensors, type TensorData } from "./safetensors.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";
const f32 = (...values: number[]): TensorData => ({
  dtype: "F32",
  shape: [values.length],
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});
const text = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const sha = (kind: "sha1" | "sha256", ...parts: (string | Uint8Array)[]): string =>
  parts.reduce((hash, part) => hash.update(part), createHash(kind)).digest("hex");

const small: Record<string, Uint8Array> = {
  "config.json": text({ model_type: "llama" }),
  "tokenizer.json": text({ model: {} }),
  "README.md": text("# not needed"),
  "original/params.json": text("{}"),
};
const weights = encodeSafetensors(new Map([["w", f32(...Array.from({ length: 50_000 }, (_, i) => i))]]));
const single = { ...small, "model.safetensors": weights, "pytorch_model.bin": text("never fetched") };
const [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const sharded = {
  ...small,
  "model.safetensors.index.json": text({ weight_map: { a: first, b: second } }),
  [first]: encodeSafetensors(new Map([["a", f32(1)]])),
  [second]: encodeSafetensors(new Map([["b", f32(2)]])),
};

/** What a test wants of the server. */
interface Behaviour {
  files: Record<string, Uint8Array>;
  /** Every answer has this status. */
  status: number | undefined;
  /** Only this token is let in. */
  token: string | undefined;
  /** Bytes of a large file after which the connection breaks, for that many requests. */
  cutAfter: number;
  cuts: number;
  sha: string;
  /** What a file has in place of its own bytes. */
  forged: Record<string, Uint8Array>;
}
let hub: Behaviour;
let requests: { path: string; range: string | null; token: string | null }[];
let cacheDir: string;
const root = mkdtempSync(join(tmpdir(), "graft-hub-"));
let count = 0;
beforeEach(() => {
  hub = { files: single, status: undefined, token: undefined, cutAfter: 0, cuts: 0, sha: commit, forged: {} };
  requests = [];
  cacheDir = join(root, String(count++));
});

const isLarge = (name: string): boolean => /\.(safetensors|bin)$/.test(name);

/** The routes of the hub that are used: model information, tree (in pages), resolve, and the storage that large files are redirected to. */
const server = Bun.serve({
  port: 0,
  fetch(request) {
    const url = new URL(request.url);
    const path = decodeURIComponent(url.pathname);
    const [range, token] = [request.headers.get("range"), request.headers.get("authorization")];
    requests.push({ path, range, token });
    if (hub.status !== undefined) return Response.json({ error: "as asked" }, { status: hub.status });
    if (hub.token !== undefined && !path.startsWith("/storage/") && token !== `Bearer ${hub.token}`)
      return Response.json({ error: "Invalid username or password." }, { status: 401 });
    if (path === "/api/models/org/tiny/revision/main" || path === `/api/models/org/tiny/revision/${hub.sha}`) {
      return Response.json({ _id: "1", id: "org/tiny", sha: hub.sha, lastModified: "2026-01-01T00:00:00Z" });
    }
    if (path === `/api/models/org/tiny/tree/${hub.sha}`) {
      const page = Number(url.searchParams.get("page") ?? 0);
      const entries = Object.entries(hub.files).map(([name, bytes]) => ({
        type: "file",
        path: name,
        size: bytes.length,
        oid: sha("sha1", `blob ${bytes.length}\0`, bytes),
        ...(isLarge(name) ? { lfs: { oid: sha("sha256", bytes), size: bytes.length, pointerSize: 130 } } : {}),
      }));
      const next = `<${url.origin}${url.pathname}?page=${page + 1}>; rel="next"`;
      return Response.json(
        page === 0
          ? [{ type: "directory", path: "original", size: 0, oid: "" }, ...entries.slice(0, 2)]
          : entries.slice(2),
        {
          headers: page === 0 ? { Link: next } : {},
        },
      );
    }
    const file = /^\/(?:storage|org\/tiny\/resolve\/[0-9a-f]+)\/(.+)$/.exec(path)?.[1];
    const bytes = file === undefined ? undefined : (hub.forged[file] ?? hub.files[file]);
    if (file === undefined || bytes === undefined)
      return Response.json({ error: "Repository not found" }, { status: 404 });
    if (isLarge(file) && !path.startsWith("/storage/")) return Response.redirect(`${url.origin}/storage/${file}`, 302);
    if (!isLarge(file) || range === "bytes=0-0" || hub.cuts === 0) return send(bytes, range);
    hub.cuts--;
    return Response.redirect(`http://localhost:${breaking.port}/broken/${file}`, 302);
  },
});
afterAll(async () => {
  await server.stop(true);
  rmSync(root, { recursive: true, force: true });
});

function rangeOf(range: string | null, size: number): [begin: number, end: number] {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
  return from === undefined ? [0, size] : [Number(from), Math.min(Number(to) + 1, size)];
}

function send(bytes: Uint8Array, range: string | null): Response {
  const [begin, end] = rangeOf(range, bytes.length);
  const headers = { ETag: '"x"', "Content-Range": `bytes ${begin}-${end - 1}/${bytes.length}` };
  return new Response(bytes.slice(begin, end), { status: range === null ? 200 : 206, headers });
}

/** A storage whose connections break: it announces the whole part, sends `cutAfter` bytes of it, and hangs up when they have arrived. */
const waiting = new Set<{ end(): unknown }>();
function hangUp({ file, fileBytes }: HubProgress): void {
  if (file !== "model.safetensors" || fileBytes === 0) return;
  for (const socket of waiting) socket.end();
  waiting.clear();
}
const breaking = Bun.listen({
  hostname: "localhost",
  port: 0,
  socket: {
    data(socket, data) {
      const head = data.toString();
      const path = /^GET (\S+)/.exec(head)?.[1] ?? "";
      const range = /^range: (.*)$/im.exec(head)?.[1]?.trim() ?? null;
      requests.push({ path, range, token: null });
      const bytes = hub.files[path.slice("/broken/".length)]!;
      const [begin, end] = rangeOf(range, bytes.length);
      const status = range === null ? "200 OK" : "206 Partial Content";
      socket.write(
        `HTTP/1.1 ${status}\r\nContent-Length: ${end - begin}\r\nETag: "x"\r\nContent-Range: bytes ${begin}-${end - 1}/${bytes.length}\r\n\r\n`,
      );
      socket.write(bytes.subarray(begin, Math.min(end, begin + hub.cutAfter)));
      if (hub.cutAfter === 0) socket.end();
      else waiting.add(socket);
    },
  },
});
afterAll(() => breaking.stop(true));

const resolve = (options: Partial<HubOptions> = {}, name = "org/tiny") =>
  resolveModel(name, { cacheDir, endpoint: server.url.origin, retryDelayMs: 0, ...options });
const fetched = (): string[] => requests.map(({ path }) => path).filter((path) => !path.startsWith("/api/"));
const failure = async (promise: Promise<unknown>): Promise<DownloadError> => {
  const error: unknown = await promise.then(
    () => new Error("it did not fail"),
    (reason) => reason,
  );
  if (!(error instanceof DownloadError)) throw error;
  return error;
};

test("a path that exists is returned as it is, and nobody is asked", async () => {
  expect(await resolve({}, root)).toBe(root);
  expect(requests).toEqual([]);
});

test("what is neither a folder nor a name is refused", async () => {
  for (const name of ["./missing", "/missing", "a/b/c", "../x", "", "org/..", "a b/c"]) {
    expect((await failure(resolve({}, name))).message).toBe(
      `${name}: no such folder, and no name of a model on the hub (org/name)`,
    );
  }
  expect((await failure(resolve({ revision: "../../x" }))).message).toContain("is no revision");
  expect(requests).toEqual([]);
});

test("a model is downloaded into the layout of every Hugging Face library", async () => {
  const progress: HubProgress[] = [];
  const folder = await resolve({ onProgress: (p) => progress.push({ ...p }) });
  const home = join(cacheDir, "models--org--tiny");
  expect(folder).toBe(join(home, "snapshots", commit));
  expect(readFileSync(join(home, "refs/main"), "utf8")).toBe(commit);
  // Only what is needed: no README, no second copy of the weights.
  expect(readdirSync(folder).toSorted()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
  expect(fetched().some((path) => path.endsWith(".bin") || path.endsWith(".md"))).toBe(false);
  expect(readlinkSync(join(folder, "model.safetensors"))).toBe(join("..", "..", "blobs", sha("sha256", weights)));
  expect(readdirSync(join(home, "blobs"))).toHaveLength(3);
  const checkpoint = openCheckpoint(folder);
  expect(checkpoint.info("w").shape).toEqual([50_000]);
  checkpoint.close();
  const last = progress.at(-1)!;
  expect([last.file, last.fileBytes, last.bytes]).toEqual(["model.safetensors", weights.length, last.total]);
  expect(progress.every((p, i) => i === 0 || p.bytes >= progress[i - 1]!.bytes)).toBe(true);
});

test("a second time only the commit and the list are asked for", async () => {
  const folder = await resolve();
  requests = [];
  expect(
    await resolve({
      onProgress: () => {
        throw new Error("nothing is downloaded");
      },
    }),
  ).toBe(folder);
  expect(fetched()).toEqual([]);
  expect(requests.length).toBeGreaterThan(0);
});

test("a branch that moved fetches what changed and keeps the old snapshot", async () => {
  const old = await resolve();
  hub.sha = "f".repeat(40);
  hub.files = { ...single, "config.json": text({ model_type: "llama", changed: true }) };
  requests = [];
  const folder = await resolve();
  expect(folder).not.toBe(old);
  expect(fetched().every((path) => path.endsWith("config.json"))).toBe(true);
  const read = (snapshot: string): unknown => JSON.parse(readFileSync(join(snapshot, "config.json"), "utf8"));
  expect([read(old), read(folder)]).toEqual([{ model_type: "llama" }, { model_type: "llama", changed: true }]);
  expect(await resolve({ offline: true })).toBe(folder);
});

test("a commit as revision needs no ref", async () => {
  expect(await resolve({ revision: commit })).toEndWith(commit);
  expect(existsSync(join(cacheDir, "models--org--tiny/refs"))).toBe(false);
});

test("the shards that an index names are downloaded", async () => {
  hub.files = sharded;
  const checkpoint = openCheckpoint(await resolve());
  expect(checkpoint.names()).toEqual(["a", "b"]);
  checkpoint.close();
});

test("a .bin is downloaded where there are no safetensors, and adapters are models too", async () => {
  hub.files = { ...small, "pytorch_model.bin": text("PK") };
  expect(readdirSync(await resolve())).toContain("pytorch_model.bin");
  hub.files = {
    "adapter_config.json": text("{}"),
    "adapter_model.safetensors": weights,
    "adapter_model.bin": text("PK"),
  };
  const folder = await resolve({ cacheDir: join(cacheDir, "adapter") });
  expect(readdirSync(folder).toSorted()).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
});

test("a tokenizer is had without the weights, which come when they are asked for", async () => {
  const folder = await resolve({ weights: false });
  expect(readdirSync(folder).toSorted()).toEqual(["config.json", "tokenizer.json"]);
  expect(await resolve({ weights: false, offline: true })).toBe(folder);
  expect((await failure(resolve({ offline: true }))).message).toContain("lacks model.safetensors");
  await resolve();
  expect(readdirSync(folder)).toContain("model.safetensors");
});

test("a connection that breaks is continued where it broke", async () => {
  hub.cutAfter = 60_000;
  hub.cuts = 2;
  const folder = await resolve({ onProgress: hangUp });
  expect(Buffer.compare(readFileSync(join(folder, "model.safetensors")), weights)).toBe(0);
  const ranges = requests
    .filter(({ path, range }) => path.startsWith("/storage/") && range !== "bytes=0-0") // before any redirect
    .map(({ range }) => range);
  expect(ranges).toHaveLength(3);
  expect(ranges[0]).toBeNull();
  for (const range of ranges.slice(1)) expect(range).toMatch(/^bytes=[1-9]\d+-\d+$/);
});

test("a download that failed is continued by the next one", async () => {
  hub.cutAfter = 60_000;
  hub.cuts = 1;
  const error = await failure(resolve({ retries: 0, onProgress: hangUp }));
  expect(error.message).toMatch(/^org\/tiny: model\.safetensors (broke off|ended).*will be continued next time$/);
  const partial = join(cacheDir, "models--org--tiny/blobs", `${sha("sha256", weights)}.incomplete`);
  const have = readFileSync(partial).length;
  expect(have).toBeGreaterThan(0);
  requests = [];
  const folder = await resolve({ retries: 0 });
  expect(Buffer.compare(readFileSync(join(folder, "model.safetensors")), weights)).toBe(0);
  expect(requests.some(({ range }) => range === `bytes=${have}-${weights.length - 1}`)).toBe(true);
  expect(existsSync(partial)).toBe(false);
});

test("a server that never delivers is given up", async () => {
  hub.cuts = 1_000;
  const error = await failure(resolve({ retries: 2 }));
  expect(error.message).toContain(", 3 times; what is there (0 bytes)");
});

test("bytes with another hash are refused and removed", async () => {
  hub.forged = { "model.safetensors": weights.with(1_000, 1 + weights[1_000]!) };
  const error = await failure(resolve());
  expect(error.message).toContain(
    `model.safetensors: what was downloaded does not have the hash ${sha("sha256", weights)}`,
  );
  expect(readdirSync(join(cacheDir, "models--org--tiny/blobs")).filter((name) => name.endsWith(".incomplete"))).toEqual(
    [],
  );
  hub.forged = { "config.json": text({ model_type: "llamb" }) };
  expect((await failure(resolve({ cacheDir: join(cacheDir, "b") }))).message).toContain(
    "config.json: what was downloaded does not have the hash",
  );
  hub.forged = { "model.safetensors": weights.slice(1) };
  expect((await failure(resolve({ cacheDir: join(cacheDir, "c") }))).message).toContain(
    `model.safetensors has ${weights.length - 1} bytes, the list of files says ${weights.length}`,
  );
});

test("a partial file that is too long or of other bytes does no harm", async () => {
  const blobs = join(cacheDir, "models--org--tiny/blobs");
  mkdirSync(blobs, { recursive: true });
  const partial = join(blobs, `${sha("sha256", weights)}.incomplete`);
  writeFileSync(partial, new Uint8Array(weights.length + 1));
  expect(Buffer.compare(readFileSync(join(await resolve(), "model.safetensors")), weights)).toBe(0);
});

describe("answers of the hub say what to do", () => {
  test("401 without a token", async () => {
    hub.token = "hf_right";
    expect((await failure(resolve())).message).toBe(
      "org/tiny: revision main: the hub answers 401: there is no such model, or it is private or gated; check the name, or set HF_TOKEN",
    );
  });

  test("401 with a token", async () => {
    hub.token = "hf_right";
    expect((await failure(resolve({ token: "hf_wrong" }))).message).toContain(
      "the token (HF_TOKEN) is not valid, or there is no such model",
    );
    expect((await failure(resolve({ token: "wrong" }))).message).toContain("it must start with hf_");
  });

  test("the right token is let in, and is not sent to other hosts by us", async () => {
    hub.token = "hf_right";
    expect(await resolve({ token: "hf_right" })).toEndWith(commit);
    expect(
      requests.filter(({ path }) => path.startsWith("/api/")).every(({ token }) => token === "Bearer hf_right"),
    ).toBe(true);
  });

  test("403 and 404", async () => {
    hub.status = 403;
    expect((await failure(resolve())).message).toContain(`accept the terms at ${server.url.origin}/org/tiny`);
    hub.status = undefined;
    expect((await failure(resolve({}, "org/none"))).message).toBe(
      "org/none: revision main: the hub answers 404: no such model or revision; check the name",
    );
  });

  test("a repository without weights", async () => {
    hub.files = small;
    expect((await failure(resolve())).message).toContain(
      "the repository has no model.safetensors or pytorch_model.bin",
    );
  });

  test("an index that names shards outside its folder, or shards that are not there", async () => {
    hub.files = { ...sharded, "model.safetensors.index.json": text({ weight_map: { a: "../../x" } }) };
    expect((await failure(resolve())).message).toContain("names no shards, or shards outside its folder");
    hub.files = { ...sharded, "model.safetensors.index.json": text({ weight_map: { a: "other.safetensors" } }) };
    expect((await failure(resolve({ cacheDir: join(cacheDir, "b") }))).message).toContain(
      "other.safetensors is named by the index, but not in the repository",
    );
  });

  test("a commit that is a path", async () => {
    hub.sha = "../../../../etc";
    expect((await failure(resolve())).message).toContain('the hub gave "../../../../etc" as its commit');
  });
});

describe("without a network", () => {
  const unreachable = { fetch: () => Promise.reject(new TypeError("Unable to connect")) };

  test("offline uses the cache and asks nobody", async () => {
    const folder = await resolve();
    requests = [];
    expect(await resolve({ offline: true })).toBe(folder);
    expect(requests).toEqual([]);
  });

  test("offline without the model says how to get it", async () => {
    expect((await failure(resolve({ offline: true }))).message).toBe(
      `org/tiny (main) is not in the cache ${cacheDir}, and downloads are switched off (HF_HUB_OFFLINE); download it once with a network, or give a folder`,
    );
  });

  test("a snapshot that is not whole is named", async () => {
    hub.files = sharded;
    const folder = await resolve();
    rmSync(join(folder, second));
    expect((await failure(resolve({ offline: true }))).message).toContain(`${folder} lacks ${second}`);
  });

  test("a hub that cannot be reached falls back to the cache and says so", async () => {
    const folder = await resolve();
    for (const options of [unreachable, {}]) {
      if (options !== unreachable) hub.status = 503;
      const notices: string[] = [];
      expect(await resolve({ ...options, onNotice: (line) => notices.push(line) })).toBe(folder);
      expect(notices).toHaveLength(1);
      expect(notices[0]).toContain(`; using ${folder}`);
    }
  });

  test("a hub that cannot be reached and no cache is an error that says both", async () => {
    const { message } = await failure(resolve(unreachable));
    expect(message).toContain("is not in the cache");
    expect(message).toContain("cannot be reached (Unable to connect)");
  });
});

test("a download stops when it is aborted", async () => {
  const controller = new AbortController();
  const stopped = resolve({
    signal: controller.signal,
    onProgress: ({ file }) => file === "model.safetensors" && controller.abort(new Error("enough")),
  });
  await expect(stopped).rejects.toThrow("enough");
});

describe("options from the environment", () => {
  const home = join(root, "home");

  test("the cache is where the other libraries look", () => {
    const cacheOf = (env: Record<string, string>) => hubOptionsFrom({ HF_TOKEN_PATH: "/none", ...env }).cacheDir;
    expect(cacheOf({ HF_HUB_CACHE: "/a", HF_HOME: "/b" })).toBe("/a");
    expect(cacheOf({ HUGGINGFACE_HUB_CACHE: "/c", HF_HOME: "/b" })).toBe("/c");
    expect(cacheOf({ HF_HOME: "/b" })).toBe("/b/hub");
    expect(cacheOf({ XDG_CACHE_HOME: "/x" })).toBe("/x/huggingface/hub");
    expect(cacheOf({})).toEndWith("/.cache/huggingface/hub");
  });

  test("token, endpoint and offline", () => {
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, "token"), "hf_stored\n");
    expect(hubOptionsFrom({ HF_HOME: home }).token).toBe("hf_stored");
    expect(hubOptionsFrom({ HF_HOME: home, HF_TOKEN: "hf_env" }).token).toBe("hf_env");
    expect(hubOptionsFrom({ HF_HOME: "/none" }).token).toBeUndefined();
    expect(hubOptionsFrom({ HF_ENDPOINT: "https://mirror/" }).endpoint).toBe("https://mirror");
    expect(["1", "true", "ON", "0", ""].map((v) => hubOptionsFrom({ HF_HUB_OFFLINE: v }).offline)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(hubOptionsFrom({ TRANSFORMERS_OFFLINE: "yes" }).offline).toBe(true);
  });
});
