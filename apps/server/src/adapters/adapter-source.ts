/** Where a new version may come from besides an upload: a folder, a job, other adapters. */
import { z } from "zod";
import type { NewAdapter } from "../adapter-shelf.ts";
import { confine } from "../confine.ts";
import type { VersionRow } from "../db/index.ts";
import { ApiError } from "../errors.ts";
import { checkpointName, resultName } from "../jobs/job-request.ts";
import type { Services } from "../services.ts";
import { copiedFiles } from "./adapter-files.ts";
import { composedFiles, compositionOf, compositionSchema, sourceOf } from "./composition.ts";

const KINDS = ["path", "job", "compose"] as const;

export const fromSchema = z
  .strictObject({
    path: z.string().optional().describe("folder in the data directory or in one given by --adapter-root"),
    job: z.string().optional().describe("a fine-tuning job that has succeeded"),
    checkpoint: z
      .union([z.string(), z.int()])
      .optional()
      .describe("of the job: a checkpoint's id, or its step; without it the job's result"),
    compose: compositionSchema.optional(),
  })
  .refine((from) => KINDS.filter((kind) => from[kind] !== undefined).length === 1, `give one of ${KINDS.join(", ")}`)
  .refine(({ job, checkpoint }) => checkpoint === undefined || job !== undefined, "a checkpoint goes with a job");
type From = z.output<typeof fromSchema>;

type Origin = Pick<NewAdapter, "source" | "fill" | "from">;

/** Throws ApiError 400 and 403 for a path, UnknownName for what there is none of, ApiError 409 for a job or an adapter that has nothing to give. */
export async function originOf(services: Services, from: From): Promise<Origin> {
  const { engine, store, shelf, base, settings } = services;
  if (from.path !== undefined) return pathOrigin(services, from.path, "from.path");
  if (from.job !== undefined) {
    const { version, step } = await versionOfJob(services, from.job, from.checkpoint);
    const source = { type: "job", job: from.job, step } as const;
    return { source, fill: copiedFiles(shelf.folderOf(version)), from: `job ${from.job}` };
  }
  const composition = compositionOf(from.compose!);
  const parts: VersionRow[] = [];
  for (const name of composition.names) {
    if (name === settings.modelName)
      throw new ApiError(400, `from.compose: "${name}" is the base model`, { param: "from.compose" });
    const { current } = await store.adapter(name);
    if (!current) throw nothingPublished(name);
    parts.push(current);
  }
  const folders = parts.map(shelf.folderOf);
  return {
    source: sourceOf(composition, parts),
    fill: composedFiles(composition, folders, base, engine.info.modelPath),
    from: "",
  };
}

/** A folder that a client names in the field `param`. */
export async function pathOrigin({ settings }: Services, path: string, param: string): Promise<Origin> {
  const { adapterRoots } = settings;
  const real = await confine(path, adapterRoots, param);
  return { source: { type: "path", path }, fill: copiedFiles(real, adapterRoots), from: path };
}

async function versionOfJob(
  { store, settings }: Services,
  id: string,
  checkpoint: string | number | undefined,
): Promise<{ version: VersionRow; step: number | null }> {
  const job = await store.job(id);
  if (checkpoint === undefined) {
    if (job.adapter === null || job.adapterVersion === null)
      throw new ApiError(409, `job ${id} is ${job.state} and has no result`, {
        code: "wrong_state",
        param: "from.job",
      });
    return { version: await store.version(job.adapter, job.adapterVersion), step: null };
  }
  const step = typeof checkpoint === "number" ? checkpoint : Number(/-(\d{1,15})$/.exec(checkpoint)?.[1]);
  const name = checkpointName(resultName(settings.modelName, job), step);
  const found = Number.isSafeInteger(step) ? await store.findAdapter(name) : undefined;
  if (!found)
    throw new ApiError(404, `from.checkpoint: job ${id} has no checkpoint ${checkpoint}`, {
      param: "from.checkpoint",
      code: "not_found",
    });
  const { current } = await store.adapter(name);
  if (!current) throw nothingPublished(name);
  return { version: current, step };
}

const nothingPublished = (name: string): ApiError =>
  new ApiError(409, `adapter "${name}" has no published version`, { code: "wrong_state" });
