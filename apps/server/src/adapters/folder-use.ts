/** Who still needs an adapter's files, besides requests. */
import { resolve } from "node:path";
import type { Blobs, IsUsed, Store } from "../db/index.ts";
import { jobRequestSchema } from "../jobs/job-request.ts";
import { openJobs } from "../jobs/open-jobs.ts";

/** Whether a version has them, or a job that has not ended begins with their values. */
export function adapterFolderUse(store: Pick<Store, "isVersionUsed" | "jobs">, blobs: Pick<Blobs, "folder">): IsUsed {
  return async (hash) => (await store.isVersionUsed(hash)) || isNeededByJob(store, resolve(blobs.folder(hash)));
}

async function isNeededByJob(store: Pick<Store, "jobs">, folder: string): Promise<boolean> {
  for await (const job of openJobs(store)) {
    // A request that cannot be read is that of a job that cannot run.
    const from = jobRequestSchema.safeParse(job.request).data?.from_adapter;
    if (typeof from === "string" && resolve(from) === folder) return true;
  }
  return false;
}
