/** Hot-swap under fire, whole: a minute, 16 streams over four names of different kinds, 200 publications, rollbacks, loads and unloads. Prints JSON; exits 1 if anything failed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { startServer } from "../apps/server/src/index.ts";
import { hotSwap } from "../apps/server/test/proof/hot-swap.ts";

const model = resolve(import.meta.dir, "../models/graft-micro-llama");
const folder = mkdtempSync(join(tmpdir(), "hot-swap-"));
const server = await startServer({
  model,
  adapters: {},
  servedModelName: "graft-micro-llama",
  host: "127.0.0.1",
  port: 0,
  dataDir: join(folder, "data"),
  apiKey: undefined,
  adapterRoots: [folder],
  dtype: "auto",
  maxSequences: 16,
  log: (line) => process.stderr.write(`${line}\n`),
});
const result = await hotSwap({
  server,
  model,
  folder,
  kinds: ["lora", "series", "parallel", "prefix"],
  versions: 4,
  streams: 16,
  changes: 200,
  seconds: 60,
  seed: 1,
});
await server.close();
rmSync(folder, { recursive: true });
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
process.exit(result.failures.length === 0 && result.deviceBytes.after === result.deviceBytes.before ? 0 : 1);
