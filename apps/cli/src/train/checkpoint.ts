/** Checkpoints of a training run: `checkpoint-STEP/` holds the adapter in PEFT's files, the optimizer's state and where the run is. */
import { type Base, type LoadedAdapter, loadAdapter, writeAdapterFiles } from "@graft/adapters";
import { ConfigError } from "@graft/core/errors";
import {
  openSafetensors,
  readJson,
  type TensorData,
  toFloat32,
  writeFileAtomic,
  writeFolderAtomic,
  writeSafetensors,
} from "@graft/core/io";
import type { OptimizerState, Resume, TrainerState } from "@graft/core/train";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

const stateSchema = z.object({
  step: z.int().min(0),
  next: z.object({ epoch: z.int().min(0), index: z.int().min(0) }),
  fingerprint: z.string(),
  bestEvalLoss: z.number().nullable(),
  bestStep: z.int().nullable(),
});

/** Writes a checkpoint, all of it or nothing. Returns its folder. */
export async function saveCheckpoint(
  outputDir: string,
  adapter: LoadedAdapter,
  base: Base,
  state: TrainerState,
  optimizer: OptimizerState,
): Promise<string> {
  const folder = join(outputDir, `checkpoint-${state.step}`);
  const tensors = new Map<string, TensorData>();
  for (const name of ["m", "v"] as const) {
    for (const [key, values] of optimizer[name]) {
      tensors.set(`${name}/${key}`, {
        dtype: "F32",
        shape: [values.length],
        bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      });
    }
  }
  await writeFolderAtomic(folder, async (temporary) => {
    await writeAdapterFiles(temporary, adapter, base);
    writeSafetensors(join(temporary, "optimizer.safetensors"), tensors);
    writeFileAtomic(join(temporary, "trainer_state.json"), [JSON.stringify(state, null, 2)]);
  });
  return folder;
}

/** What a run needs to go on exactly where it was. Throws ConfigError or CheckpointError naming the file. */
export function loadCheckpoint(folder: string, base: Base): { adapter: LoadedAdapter; resume: Resume } {
  const state = readJson(join(folder, "trainer_state.json"), stateSchema);
  const adapter = loadAdapter(folder, base);
  const file = openSafetensors(join(folder, "optimizer.safetensors"));
  try {
    const m = new Map<string, Float32Array>();
    const v = new Map<string, Float32Array>();
    for (const [name, { dtype }] of file.tensors) {
      const target = name.startsWith("m/") ? m : v;
      target.set(name.slice(2), toFloat32(file.read(name), dtype, `${file.path}: ${name}`));
    }
    return { adapter, resume: { state, optimizer: { m, v } } };
  } finally {
    file.close();
  }
}

/** Steps of the checkpoints of a run, rising. */
export function checkpointSteps(outputDir: string): number[] {
  if (!existsSync(outputDir)) return [];
  return readdirSync(outputDir)
    .flatMap((name) => {
      const step = /^checkpoint-(\d+)$/.exec(name)?.[1];
      return step !== undefined && existsSync(join(outputDir, name, "trainer_state.json")) ? [Number(step)] : [];
    })
    .toSorted((a, b) => a - b);
}

/** The folder to resume from: a path, or the newest checkpoint for "true". Throws ConfigError if there is none. */
export function findCheckpoint(asked: string, outputDir: string): string {
  if (!/^(true|latest)$/i.test(asked)) {
    if (!existsSync(join(asked, "trainer_state.json")))
      throw new ConfigError(`${asked}: is no checkpoint (it has no trainer_state.json)`);
    return asked;
  }
  const newest = checkpointSteps(outputDir).at(-1);
  if (newest === undefined) throw new ConfigError(`${outputDir}: has no checkpoint to resume from`);
  return join(outputDir, `checkpoint-${newest}`);
}

/** Removes all but the newest `limit` checkpoints; the best one stays. */
export function pruneCheckpoints(outputDir: string, limit: number, bestStep: number | null): void {
  const steps = checkpointSteps(outputDir).filter((step) => step !== bestStep);
  for (const step of steps.slice(0, Math.max(0, steps.length - limit)))
    rmSync(join(outputDir, `checkpoint-${step}`), { recursive: true, force: true });
}
