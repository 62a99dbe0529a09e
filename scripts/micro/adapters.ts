/** Trains the adapter that comes with the micro base: `bun scripts/micro/adapters.ts`. Writes models/graft-micro-llama-common/. */
import { join } from "node:path";
import { trainAdapter } from "../../apps/cli/src/commands/demo.ts";

const models = join(import.meta.dir, "../../models");
const out = join(models, "graft-micro-llama-common");
await trainAdapter(
  join(models, "graft-micro-llama"),
  join(models, "data/micro-common-train.json"),
  out,
  300,
  new AbortController().signal,
  console.error,
);
