/** kill -9 of a server at fifty random moments, while files are uploaded, adapters published and a job trains. Prints JSON; exits 1 if anything was lost. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { killAndCheck } from "../apps/server/test/proof/kill.ts";

const folder = mkdtempSync(join(tmpdir(), "kill-"));
const result = await killAndCheck({
  model: resolve(import.meta.dir, "../models/graft-micro-llama"),
  folder,
  kills: Number(process.argv[2] ?? 50),
  steps: 400,
  seed: 2,
  maxMs: 4000,
});
rmSync(folder, { recursive: true });
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
process.exit(result.failures.length === 0 ? 0 : 1);
