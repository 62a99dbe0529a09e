/**
 * What the engine costs in a process of its own: `bun bench/engine-process.ts [rounds] [--json]`.
 * A batch is streamed from an engine in this process and from one in its own, in turn (A B A B ...), taken directly and over HTTP by a client in a third process; medians are compared. Tokens per second.
 */
import { createApp } from "../apps/server/src/app.ts";
import { Store } from "../apps/server/src/db/store.ts";
import { EngineProcess } from "../apps/server/src/worker/engine-process.ts";
import { openEngine } from "../apps/server/src/worker/open-engine.ts";
import type { Engine } from "../packages/core/src/engine/index.ts";
import { loadTokenizer } from "../packages/core/src/text/index.ts";
import { openDevice } from "../packages/kernels/src/index.ts";

const REQUESTS = 16;
const NEW_TOKENS = 200;
const PROMPT = "Tom has 3 apples.";
const model = new URL("../models/graft-micro-llama", import.meta.url).pathname;

const perSecond = (counts: readonly number[], begun: number) =>
  (1000 * counts.reduce((a, b) => a + b, 0)) / (performance.now() - begun);

/** A batch as another program asks for it. */
async function client(url: string): Promise<void> {
  const ask = { model: "base", prompt: PROMPT, max_tokens: NEW_TOKENS, temperature: 0, stream: true, logprobs: 0 };
  const begun = performance.now();
  const counts = await Promise.all(
    Array.from({ length: REQUESTS }, async () => {
      const response = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(ask) });
      return (await response.text()).split('"token_logprobs"').length - 1;
    }),
  );
  process.stdout.write(String(perSecond(counts, begun)));
}

async function direct(engine: Engine, promptIds: readonly number[], more: object): Promise<number> {
  const begun = performance.now();
  const counts = await Promise.all(
    Array.from({ length: REQUESTS }, async (_, i) => {
      let count = 0;
      const request = { requestId: `${i}`, promptIds, maxNewTokens: NEW_TOKENS, eosTokenIds: [], ...more };
      for await (const event of engine.generate(request)) if (event.type === "token") count++;
      return count;
    }),
  );
  return perSecond(counts, begun);
}

async function overHttp(url: URL): Promise<number> {
  const asking = Bun.spawn([process.execPath, import.meta.path, "--client", url.origin], { stderr: "inherit" });
  return Number(await new Response(asking.stdout).text());
}

async function main(): Promise<void> {
  const rounds = Number(process.argv.find((arg) => /^\d+$/.test(arg)) ?? 9);
  const options = { model, dtype: "auto", maxSequences: REQUESTS } as const;
  const tokenizer = loadTokenizer(model);
  const promptIds = tokenizer.encode(PROMPT, { addSpecialTokens: true });
  const device = await openDevice();
  const inside = openEngine(device, options);
  const outside = await EngineProcess.start({ engine: options, log: console.error });
  const engines: [string, Engine][] = [
    ["in the same process", inside.engine],
    ["in its own process", outside],
  ];
  const contenders = engines.flatMap(([where, engine]) => {
    const endless: Engine = {
      info: engine.info,
      generate: (request, signal) => engine.generate({ ...request, eosTokenIds: [] }, signal),
      loadAdapter: (name, path) => engine.loadAdapter(name, path),
      unloadAdapter: (name) => engine.unloadAdapter(name),
      adapters: () => engine.adapters(),
      stats: () => engine.stats(),
      close: () => engine.close(),
    };
    const app = createApp({
      engine: endless,
      tokenizer,
      store: new Store(":memory:"),
      modelName: "base",
      apiKey: undefined,
      bodyLimit: 2 ** 20,
      now: () => new Date(),
      newId: (prefix) => prefix,
    });
    const server = Bun.serve({ port: 0, idleTimeout: 255, fetch: app.fetch });
    return [
      { name: `${where}, direct`, run: () => direct(engine, promptIds, {}) },
      { name: `${where}, direct, 20 log-probabilities`, run: () => direct(engine, promptIds, { logprobs: 20 }) },
      { name: `${where}, over HTTP`, run: () => overHttp(server.url) },
    ];
  });
  const rates = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const { name, run } of contenders) {
      const rate = await run();
      if (round >= 0) rates.get(name)!.push(rate); // the first round compiles
    }
  }
  const rows = [...rates].map(([name, list]) => {
    const sorted = list.toSorted((a, b) => a - b);
    return { name, median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! };
  });
  if (process.argv.includes("--json"))
    console.log(
      JSON.stringify({ device: inside.engine.info.device, requests: REQUESTS, newTokens: NEW_TOKENS, rounds, rows }),
    );
  else
    for (const { name, median, min, max } of rows)
      console.log(`${name.padEnd(52)} ${median.toFixed(0)} tokens/s (${min.toFixed(0)} to ${max.toFixed(0)})`);
  await outside.close();
  await inside.close();
  await device.close();
  process.exit();
}

if (process.argv[2] === "--client") await client(process.argv[3]!);
else await main();
