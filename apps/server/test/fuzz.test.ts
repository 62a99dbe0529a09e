/** Requests that are wrong in a thousand ways: each is answered with a 4xx, none hangs, none harms the server. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { connect } from "node:net";
import type { RunningServer } from "../src/index.ts";
import { startMicroServer } from "./in-process.ts";

const BODY_TIMEOUT_MS = 400;
let server: RunningServer;
beforeAll(async () => {
  server = await startMicroServer({ bodyTimeoutMs: BODY_TIMEOUT_MS, uploadLimit: 2 ** 20 });
});
afterAll(() => server.close());

/** A request whole; `why` is for the message of a failure. */
interface Wrong {
  readonly why: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
}

const json = { "content-type": "application/json" };
const pick = <T>(random: Random, list: readonly T[]): T => list[random.int(list.length)]!;

/** By route: a body that is right, and for each field values that are not. */
const bodies: Readonly<Record<string, { right: Record<string, unknown>; wrong: Record<string, readonly unknown[]> }>> =
  {
    "/v1/completions": {
      right: { model: "graft-micro-llama", prompt: "Tom has", max_tokens: 1 },
      wrong: {
        model: [1, null, {}, [], "", "no such model", "../graft-micro-llama", "\0"],
        prompt: [1, null, {}, [], [""], [[]], [1.5], [-1], [1e9], [[1e300]], [null], [{}], "x ".repeat(5000)],
        max_tokens: [-1, 1.5, "1", {}, [], 1e9, 1e308, true],
        temperature: [-1, 3, "1", {}, [], true],
        top_p: [0, -1, 1.1, "1", {}],
        n: [0, -1, 1.5, 1e9, "1", []],
        best_of: [0, "1", 1e9],
        logprobs: [-1, 1.5, 1e9, "1", {}, true],
        stop: [1, {}, [1], [null], Array.from({ length: 100 }, () => "a")],
        seed: ["1", 1.5, {}, 1e300],
        stream: [1, "true", {}],
        echo: [1, "true"],
        logit_bias: [1, [], "x", { a: 1 }, { "-1": 1 }, { "1": "x" }, { "1": 1e9 }, { "99999999": 1 }],
        frequency_penalty: [3, "1", {}],
        presence_penalty: [-3, "1", {}],
      },
    },
    "/v1/chat/completions": {
      right: { model: "graft-micro-llama", messages: [{ role: "user", content: "Hi" }], max_tokens: 1 },
      wrong: {
        messages: [
          1,
          null,
          {},
          [],
          [1],
          [null],
          [{}],
          [{ role: 1 }],
          [{ role: "user", content: 1 }],
          [{ role: "user", content: [{ type: "image_url" }] }],
        ],
        max_tokens: [0, -1, "1", 1e9],
        top_logprobs: [21, -1, "1"],
        response_format: [
          1,
          "json",
          {},
          { type: "xml" },
          { type: "json_schema" },
          { type: "json_schema", json_schema: { name: "x", schema: { type: "nonsense" } } },
        ],
        tools: [1, {}, "x"],
        tool_choice: [1, { type: "function" }],
      },
    },
    "/tokenize": { right: { prompt: "Hi" }, wrong: { prompt: [1, null, {}, []] } },
    "/detokenize": { right: { tokens: [1] }, wrong: { tokens: ["a", 1, null, [1.5], [-1], [1e9], [[1]]] } },
    "/v1/fine_tuning/jobs": {
      right: { model: "graft-micro-llama", training_file: "file-0" },
      wrong: {
        model: [1, null, "other"],
        training_file: [1, null, "file-none", "../../etc/passwd", "x".repeat(10_000)],
        suffix: [1, "a/b", "x".repeat(100), "\n"],
        seed: [-1, "1", 1.5, 2 ** 40],
        method: [
          1,
          "supervised",
          { type: "dpo" },
          { type: "supervised", supervised: { hyperparameters: { n_epochs: -1 } } },
        ],
        hyperparameters: [1, [], { n_epochs: "many" }],
        metadata: [1, { a: 1 }],
      },
    },
    "/v1/adapters": {
      right: { name: "a", from: { path: "/nowhere" } },
      wrong: {
        name: [1, null, "", "../x", "a/b", "\0", "x".repeat(1000), "graft-micro-llama"],
        from: [
          1,
          null,
          {},
          { path: 1 },
          { path: "../../../etc" },
          { path: "/proc/self/mem" },
          { job: "none" },
          { compose: {} },
          { compose: { average: ["none"] } },
        ],
      },
    },
    "/v1/load_lora_adapter": {
      right: { lora_name: "a", lora_path: "/nowhere" },
      wrong: { lora_name: [1, null, "", {}], lora_path: [1, null, "", "/etc", "..", "/dev/zero"] },
    },
    "/v1/unload_lora_adapter": { right: { lora_name: "none" }, wrong: { lora_name: [1, null, "", {}] } },
    "/v1/keys": {
      right: { name: "k" },
      wrong: { name: [1, null, "", "x".repeat(1000)], scopes: [1, [], ["root"]], requests_per_minute: [0, -1, "1"] },
    },
  };

/** A body with one field that is wrong. */
function wrongField(random: Random): Wrong {
  const path = pick(random, Object.keys(bodies));
  const { right, wrong } = bodies[path]!;
  const field = pick(random, Object.keys(wrong));
  const value = pick(random, wrong[field]!);
  return {
    why: `${field} ${JSON.stringify(value).slice(0, 80)}`,
    method: "POST",
    path,
    headers: json,
    body: JSON.stringify({ ...right, [field]: value }),
  };
}

/** A body that is no JSON, or no JSON in UTF-8. */
function wrongText(random: Random): Wrong {
  const path = pick(random, Object.keys(bodies));
  const right = JSON.stringify(bodies[path]!.right);
  const bytes = new TextEncoder().encode(right);
  const ways: readonly (readonly [string, string | Uint8Array<ArrayBuffer>])[] = [
    ["cut", right.slice(0, 1 + random.int(right.length - 1))],
    ["empty", ""],
    ["a number", String(random.uniform())],
    ["nested", "[".repeat(1 + random.int(20_000))],
    ["deep", `${"[".repeat(5000)}${"]".repeat(5000)}`],
    ["trailing", `${right} ${right}`],
    ["invalid UTF-8", Uint8Array.from([...bytes.slice(0, 10), 0xff, 0xfe, ...bytes.slice(10)])],
    ["UTF-16", new Uint8Array(new Uint16Array([...right].map((c) => c.charCodeAt(0))).buffer)],
    ["random bytes", Uint8Array.from({ length: 1 + random.int(500) }, () => random.int(256))],
    ["a form", "a=b&c=d"],
  ];
  const [why, body] = pick(random, ways);
  return { why, method: "POST", path, headers: json, body };
}

/** Paths and ids that lead nowhere. */
function wrongPath(random: Random): Wrong {
  const id = pick(random, [
    "none",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "%00",
    "%ff%fe",
    "a".repeat(4000),
    "'; drop table jobs; --",
    "-1",
    "1e308",
    "{}",
    "🦆",
    "file-x%0d%0aset-cookie:a",
  ]);
  const [method, path] = pick(random, [
    ["GET", "/v1/models/"],
    ["DELETE", "/v1/models/"],
    ["GET", "/v1/files/"],
    ["DELETE", "/v1/files/"],
    ["GET", "/v1/fine_tuning/jobs/"],
    ["GET", "/v1/adapters/"],
    ["DELETE", "/v1/adapters/"],
    ["GET", "/v1/runs/"],
    ["DELETE", "/v1/keys/"],
    ["GET", "/assets/"],
    ["GET", "/nothing/"],
    ["PUT", "/v1/models/"],
    ["PATCH", "/v1/files/"],
  ] as const);
  const tail = path.includes("jobs")
    ? pick(random, ["", "/events", "/checkpoints"])
    : path.includes("files/") && method === "GET"
      ? pick(random, ["", "/content"])
      : "";
  return { why: id.slice(0, 40), method, path: `${path}${encodeURI(id).replaceAll("%25", "%")}${tail}` };
}

/** Queries with values of the wrong kind. */
function wrongQuery(random: Random): Wrong {
  const path = pick(random, ["/v1/files", "/v1/fine_tuning/jobs", "/v1/runs"]);
  const query = pick(random, [
    "limit=0",
    "limit=-1",
    "limit=x",
    "limit=1e9",
    "limit=1.5",
    "limit=",
    "after=none&limit=0",
  ]);
  return { why: query, method: "GET", path: `${path}?${query}` };
}

/** Multipart bodies that are broken, or hold the wrong things. */
function wrongForm(random: Random): Wrong {
  const path = pick(random, ["/v1/files", "/v1/adapters"]);
  const part = (head: string, content: string) => `--b\r\n${head}\r\n\r\n${content}\r\n`;
  const file = (name: string, content: string) =>
    part(`content-disposition: form-data; name="file"; filename="${name}"\r\ncontent-type: text/plain`, content);
  const purpose = part(`content-disposition: form-data; name="purpose"`, "fine-tune");
  const name = part(`content-disposition: form-data; name="name"`, "fuzz");
  const bodies: readonly (readonly [string, string])[] = [
    ["no end", `${file("a.jsonl", '{"messages": []}')}${purpose}`],
    ["no parts", "--b--\r\n"],
    ["another boundary", "--c\r\n\r\n\r\n--c--\r\n"],
    ["empty file", `${file("a.jsonl", "")}${purpose}--b--\r\n`],
    ["binary", `${file("../../a", "\0\x01\x02")}${purpose}${name}--b--\r\n`],
    ["not JSON", `${file("a.jsonl", "hello\nworld")}${purpose}--b--\r\n`],
    ["wrong rows", `${file("a.jsonl", '{"a": 1}\n{"b": 2}')}${purpose}--b--\r\n`],
    ["no purpose", `${file("a.jsonl", '{"prompt": "a", "completion": "b"}')}--b--\r\n`],
    ["too large", `${file("a.jsonl", "x".repeat(2 ** 20))}${purpose}--b--\r\n`],
    ["random", Array.from({ length: 300 }, () => String.fromCharCode(32 + random.int(90))).join("")],
  ];
  const [why, body] = pick(random, bodies);
  const type = pick(random, [
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "multipart/mixed; boundary=b",
  ]);
  return { why: `${why} as ${type}`, method: "POST", path, headers: { "content-type": type }, body };
}

test("a thousand wrong requests are answered with 4xx error objects", async () => {
  const random = new Random(5);
  const kinds = [wrongField, wrongField, wrongField, wrongText, wrongPath, wrongQuery, wrongForm];
  const failures: string[] = [];
  for (let round = 0; round < 125; round++) {
    const batch = Array.from({ length: 8 }, () => pick(random, kinds)(random));
    await Promise.all(
      batch.map(async ({ why, method, path, headers = {}, body }) => {
        const response = await fetch(`${server.url}${path}`, {
          method,
          headers,
          ...(body === undefined ? {} : { body }),
          signal: AbortSignal.timeout(20_000),
        });
        const text = await response.text();
        const isError = text.startsWith('{"error":{"message":"');
        if (response.status < 400 || response.status >= 500 || !isError)
          failures.push(`${method} ${path.slice(0, 80)}: ${why}: ${response.status} ${text.slice(0, 120)}`);
      }),
    );
  }
  expect(failures).toEqual([]);
});

/** What comes back for raw bytes, until the server closes or `enough` has come. */
function raw(bytes: string, enough: RegExp): Promise<string> {
  const { port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    let said = "";
    const socket = connect(Number(port), "127.0.0.1", () => socket.write(bytes));
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
      if (enough.test(said)) socket.destroy();
    });
    socket.on("close", () => resolve(said));
    socket.on("error", (error) =>
      said === "" && !/ECONNRESET|EPIPE/.test(String(error)) ? reject(error) : resolve(said),
    );
  });
}

test("what is no HTTP is refused or cut off", async () => {
  const whole = /\r\n\r\n/;
  for (const bytes of [
    "GET / HTTP/9.9\r\n\r\n",
    "\0\0\0\0\r\n\r\n",
    "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n",
    "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    "POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    `GET /health HTTP/1.1\r\nhost: a\r\nx: ${"a".repeat(200_000)}\r\n\r\n`,
    "GET /v1/models HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
  ]) {
    const said = await raw(bytes, whole);
    // 505 is HTTP's own word for a version that there is not.
    expect(
      said === "" || /^HTTP\/1\.1 (4\d\d|505) /.test(said),
      JSON.stringify([bytes.slice(0, 60), said.slice(0, 60)]),
    ).toBe(true);
  }
});

test("a body that does not arrive is a 408", async () => {
  for (const path of ["/v1/completions", "/v1/files"]) {
    const type = path === "/v1/files" ? "multipart/form-data; boundary=b" : "application/json";
    const said = await raw(
      `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: ${type}\r\ncontent-length: 1000\r\n\r\n{"model"`,
      /\}\}/,
    );
    expect(said).toStartWith("HTTP/1.1 408");
  }
});

test("after all of it the server answers as before, and holds nothing", async () => {
  const answer = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: json,
    body: JSON.stringify({ model: "common", prompt: "Tom has 3 apples.", max_tokens: 4, temperature: 0 }),
  });
  expect(answer.status).toBe(200);
  const stats = await server.engine.stats();
  expect([stats.running, stats.waiting, stats.kvPagesUsed, stats.adapters]).toEqual([0, 0, 0, 1]);
});
