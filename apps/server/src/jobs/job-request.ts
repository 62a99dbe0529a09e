/** What a job's row keeps of its request: everything that running it needs. */
import { jobSpecSchema } from "@graft/adapters/train";
import { DataError } from "@graft/core/errors";
import { z } from "zod";
import type { JobRow } from "../db/index.ts";

export const jobRequestSchema = z.object({
  /** With every default settled. */
  spec: jobSpecSchema,
  /** Folder of the adapter whose values training begins with; null: fresh ones. */
  from_adapter: z.string().nullable(),
});
export type KeptJobRequest = z.output<typeof jobRequestSchema>;

/** Throws DataError for a row that something else has written. */
export function keptRequest({ id, request }: JobRow): KeptJobRequest {
  const result = jobRequestSchema.safeParse(request);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new DataError(`job ${id}: its request cannot be read: ${issue.path.join(".")}: ${issue.message}`);
}

/** The name that the result of a job gets, as OpenAI makes them. */
export function resultName(base: string, { id, suffix }: Pick<JobRow, "id" | "suffix">): string {
  return `ft:${base}:graft:${suffix ?? ""}:${id.slice(-8)}`;
}

/** The name of what a job had learnt by a step. */
export const checkpointName = (result: string, step: number): string => `${result}:ckpt-step-${step}`;
