/** Checkpoints of a training run: `checkpoint-STEP/` holds the adapter in PEFT's files, the optimizer's state and where the run is. */
import { ConfigError } from "@graft/core/errors";
import {
  openSafetensors,
  readJson,
  recoverFolder,
  type TensorData,
  toFloat32,
  writeFileAtomic,
  writeFolderAtomic,
  writeSafetensors,
} from "@graft/core/io";
import type { OptimizerState, Resume, TrainerState } from "@graft/core/train";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { type AdapterConfig, bindAdapter, type LoadedAdapter, loadAdapter, writeAdapterFiles } from "../adapter.ts";
import type { Base } from "../method.ts";

const stateSchema = z.object({
  step: z.int().min(0),
  next: z.object({ epoch: z.int().min(0), index: z.int().min(0) }),
  fingerprint: z.string(),
  bestEvalLoss: z.number().nullable(),
  bestStep: z.int().nullable(),
});

/** Folder inside a checkpoint with the adapter of the best validation so far, where that was an earlier step than the checkpoint's. */
const BEST = "best";

/** A run as its checkpoints see it. */
export interface Saved {
  readonly adapter: LoadedAdapter;
  /** The best validated one, where it is another. */
  readonly best: LoadedAdapter | undefined;
  readonly state: TrainerState;
  readonly optimizer: OptimizerState;
}

/** Writes a checkpoint, all of it or nothing. Returns its folder. */
export async function saveCheckpoint(
  outputDir: string,
  base: Base,
  { adapter, best, state, optimizer }: Saved,
): Promise<string> {
  const folder = join(outputDir, `checkpoint-${state.step}`);
  const tensors = new Map<string, TensorData>();
  for (const name of ["m", "v", "method"] as const) {
    for (const [key, values] of optimizer[name] ?? []) {
      tensors.set(`${name}/${key}`, {
        dtype: "F32",
        shape: [values.length],
        bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      });
    }
  }
  await writeFolderAtomic(folder, async (temporary) => {
    await writeAdapterFiles(temporary, adapter, base);
    if (best) await writeAdapterFiles(join(temporary, BEST), best, base);
    writeSafetensors(join(temporary, "optimizer.safetensors"), tensors);
    writeFileAtomic(join(temporary, "trainer_state.json"), [JSON.stringify(state, null, 2)]);
  });
  return folder;
}

/** What a run needs to go on exactly where it was. Throws ConfigError or CheckpointError naming the file. */
export function loadCheckpoint(
  folder: string,
  base: Base,
  config: AdapterConfig,
): { adapter: LoadedAdapter; best: LoadedAdapter | undefined; resume: Resume } {
  const state = readJson(join(folder, "trainer_state.json"), stateSchema);
  const adapter = loadAdapter(folder, base);
  checkSameAdapter(folder, adapter.config, {
    ...config,
    ...bindAdapter(config, base, "adapter config").settledConfig,
  });
  const best = existsSync(join(folder, BEST))
    ? loadAdapter(join(folder, BEST), base)
    : state.bestStep === state.step
      ? adapter
      : undefined;
  const file = openSafetensors(join(folder, "optimizer.safetensors"));
  try {
    const optimizer = { m: new Map(), v: new Map(), method: new Map() } as Record<string, Map<string, Float32Array>>;
    for (const [name, { dtype }] of file.tensors) {
      const [kind, key] = [name.split("/", 1)[0]!, name.slice(name.indexOf("/") + 1)];
      optimizer[kind]?.set(key, toFloat32(file.read(name), dtype, `${file.path}: ${name}`));
    }
    const { m, v, method } = optimizer;
    return { adapter, best, resume: { state, optimizer: { m: m!, v: v!, method: method! } } };
  } finally {
    file.close();
  }
}

/** A run goes on with the adapter it began: what the command line says of it must be the same. Where the base lies may change. */
function checkSameAdapter(folder: string, saved: AdapterConfig, asked: AdapterConfig): void {
  for (const [key, value] of Object.entries(asked)) {
    if (key === "base_model_name_or_path" || isDeepStrictEqual(saved[key], value)) continue;
    throw new ConfigError(
      `${folder}: was trained with ${key} ${JSON.stringify(saved[key])}, now it is ${JSON.stringify(value)}; resume with the same, or start anew`,
    );
  }
}

/** Steps of the checkpoints of a run, rising. */
export function checkpointSteps(outputDir: string): number[] {
  if (!existsSync(outputDir)) return [];
  for (const name of readdirSync(outputDir)) {
    const cut = /^\.(checkpoint-\d+)\.previous$/.exec(name)?.[1];
    if (cut !== undefined) recoverFolder(join(outputDir, cut));
  }
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

/** Removes all but the newest `limit` of a run's own checkpoints; the best one stays, and so do those of other runs in the same folder. */
export function pruneCheckpoints(
  outputDir: string,
  own: ReadonlySet<number>,
  limit: number,
  bestStep: number | null,
): void {
  const steps = checkpointSteps(outputDir).filter((step) => own.has(step) && step !== bestStep);
  for (const step of steps.slice(0, Math.max(0, steps.length - limit)))
    rmSync(join(outputDir, `checkpoint-${step}`), { recursive: true, force: true });
}
