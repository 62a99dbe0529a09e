/** Everything at once for half an hour (or the minutes given): requests, swaps, uploads, jobs, clients that leave. Prints what the server held after each minute; exits 1 if it grew. */
import { Random } from "@graft/core/random";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { startServer } from "../apps/server/src/index.ts";
import { writeRandomAdapter } from "../apps/server/test/proof/random-adapters.ts";

const minutes = Number(process.argv[2] ?? 30);
const model = resolve(import.meta.dir, "../models/graft-micro-llama");
const folder = mkdtempSync(join(tmpdir(), "soak-"));
const server = await startServer({
  model,
  adapters: {},
  servedModelName: "base",
  host: "127.0.0.1",
  port: 0,
  dataDir: join(folder, "data"),
  apiKey: undefined,
  adapterRoots: [folder],
  dtype: "auto",
  maxSequences: 8,
  log: (line) => process.stderr.write(`${line}\n`),
});
const random = new Random(4);
const kinds = ["lora", "series", "prefix", "ia3"] as const;
const folders = await Promise.all(
  kinds.flatMap((kind) => [1, 2].map((v) => writeRandomAdapter(model, folder, kind, v))),
);
let requests = 0;
let failures = 0;
let isOver = false;

const call = async (path: string, body: object, signal?: AbortSignal): Promise<Response> => {
  const response = await fetch(`${server.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
  requests++;
  if (!response.ok && response.status !== 404) failures++;
  return response;
};
const loop = async (act: () => Promise<unknown>): Promise<void> => {
  while (!isOver) await act().catch(() => undefined);
};
const name = (): string => (random.int(3) === 0 ? "base" : `a${random.int(4)}`);
const work = [
  ...Array.from({ length: 4 }, () =>
    loop(async () =>
      (
        await call("/v1/completions", {
          model: name(),
          prompt: `Tom has ${random.int(99)} apples`,
          max_tokens: 1 + random.int(40),
        })
      ).text(),
    ),
  ),
  // Clients that leave in the middle.
  loop(async () => {
    const controller = new AbortController();
    const response = await call(
      "/v1/completions",
      { model: name(), prompt: "The box", max_tokens: 100, stream: true },
      controller.signal,
    );
    for await (const _ of response.body!) if (random.int(5) === 0) controller.abort();
  }),
  loop(async () => {
    const path = folders[random.int(folders.length)];
    await (
      await call("/v1/load_lora_adapter", { lora_name: `a${random.int(4)}`, lora_path: path, load_inplace: true })
    ).text();
    await new Promise((resume) => setTimeout(resume, 200));
  }),
  loop(async () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    const rows = Array.from({ length: 32 }, (_, i) =>
      JSON.stringify({ prompt: `Tom has ${i} `, completion: `apples.` }),
    );
    form.set("file", new File([rows.join("\n")], "rows.jsonl"));
    const file = (await (await fetch(`${server.url}/v1/files`, { method: "POST", body: form })).json()) as {
      id: string;
    };
    const job = (await (
      await call("/v1/fine_tuning/jobs", {
        model: "base",
        training_file: file.id,
        method: { type: "supervised", supervised: { hyperparameters: { max_steps: 8, batch_size: 4, save_steps: 0 } } },
      })
    ).json()) as { id: string };
    await (await fetch(`${server.url}/v1/fine_tuning/jobs/${job.id}/events?stream=true`)).text();
    const { fine_tuned_model: model } = (await (await fetch(`${server.url}/v1/fine_tuning/jobs/${job.id}`)).json()) as {
      fine_tuned_model: string | null;
    };
    if (model === null) failures++;
    else await fetch(`${server.url}/v1/adapters/${encodeURIComponent(model)}`, { method: "DELETE" });
    await fetch(`${server.url}/v1/files/${file.id}`, { method: "DELETE" });
  }),
];

/** Of a process: MiB of memory, open files. */
function held(pid: number): { readonly rssMiB: number; readonly handles: number } {
  const rss = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  return { rssMiB: Math.round(rss), handles: readdirSync(`/proc/${pid}/fd`).length };
}

const readings: object[] = [];
let first: { engine: ReturnType<typeof held>; api: ReturnType<typeof held>; deviceBytes: number } | undefined;
let last = first;
for (let minute = 1; minute <= minutes; minute++) {
  await new Promise((resume) => setTimeout(resume, 60_000));
  const { deviceBytes, kvPagesUsed, running, waiting } = await server.engine.stats();
  const reading = {
    minute,
    requests,
    failures,
    api: held(process.pid),
    engine: held(server.engine.pid!),
    deviceBytes,
    kvPagesUsed,
    running,
    waiting,
  };
  readings.push(reading);
  process.stderr.write(`${JSON.stringify(reading)}\n`);
  // Caches are full after a few minutes.
  if (minute === Math.min(5, Math.ceil(minutes / 3))) first = reading;
  last = reading;
}
isOver = true;
await Promise.all(work);
const { kvPagesUsed, running, waiting } = await server.engine.stats();
await server.close();
rmSync(folder, { recursive: true });
const grew = first &&
  last && {
    engineMiB: last.engine.rssMiB - first.engine.rssMiB,
    apiMiB: last.api.rssMiB - first.api.rssMiB,
    engineHandles: last.engine.handles - first.engine.handles,
    apiHandles: last.api.handles - first.api.handles,
  };
process.stdout.write(
  `${JSON.stringify({ minutes, requests, failures, grew, atEnd: { kvPagesUsed, running, waiting }, readings }, null, 2)}\n`,
);
const isSteady =
  grew !== undefined && grew.engineMiB < 64 && grew.apiMiB < 64 && grew.engineHandles < 16 && grew.apiHandles < 16;
process.exit(isSteady && failures === 0 && kvPagesUsed + running + waiting === 0 ? 0 : 1);
