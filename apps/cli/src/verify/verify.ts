/** Runs cases one after the other and reports each. */
import { UnknownName } from "@graft/core/errors";
import type { Device } from "@graft/kernels";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { verifyAdapter } from "./adapter-case.ts";
import { verifyBase } from "./base-case.ts";
import { type Case, caseFolders, openCase } from "./case.ts";
import { verifyLogitsProcessors, verifyScheduler, verifyTraining } from "./other-cases.ts";
import { type CaseReport, Recorder } from "./report.ts";

/** What can be verified, by the case's `kind`. */
const kinds: Readonly<Record<string, (kase: Case, device: Device, recorder: Recorder) => Promise<void>>> = {
  base: verifyBase,
  adapter: verifyAdapter,
  "training-loop": verifyTraining,
  scheduler: verifyScheduler,
  "logits-processors": verifyLogitsProcessors,
};

export interface VerifyOptions {
  /** Only cases whose id matches. */
  readonly filter?: RegExp | undefined;
  /** Writes what was computed as DIR/<case id>.safetensors. */
  readonly dumpDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A case that cannot be run (unknown architecture or method) fails with the reason under `skipped`. Throws CheckpointError for a path that is no case and no kit. */
export async function* verifyCases(
  paths: readonly string[],
  device: Device,
  options: VerifyOptions = {},
): AsyncGenerator<CaseReport> {
  for (const folder of paths.flatMap(caseFolders)) {
    options.signal?.throwIfAborted();
    const kase = openCase(folder);
    try {
      if (options.filter && !options.filter.test(kase.info.id)) continue;
      yield await verifyOne(kase, device, options);
    } finally {
      kase.tensors.close();
    }
  }
}

async function verifyOne(kase: Case, device: Device, { dumpDir }: VerifyOptions): Promise<CaseReport> {
  const started = performance.now();
  const recorder = new Recorder();
  const run = kinds[kase.info.kind];
  let failure: string | undefined;
  try {
    if (!run) throw new UnknownName(`${kase.folder}: unknown kind "${kase.info.kind}"`);
    await run(kase, device, recorder);
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
  }
  if (dumpDir !== undefined) {
    const path = join(dumpDir, `${kase.info.id}.safetensors`);
    mkdirSync(dirname(path), { recursive: true });
    recorder.writeDump(path);
  }
  const quantities = recorder.quantities;
  return {
    id: kase.info.id,
    passed: failure === undefined && quantities.length > 0 && quantities.every((q) => q.passed),
    quantities,
    skipped: [...recorder.skipped, ...(failure === undefined ? [] : [`could not be finished: ${failure}`])],
    seconds: (performance.now() - started) / 1000,
  };
}
