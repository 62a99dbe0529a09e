/** Who still needs an adapter's files, besides requests. */
import { resolve } from "node:path";
import { type Blobs, type IsUsed, isFinal, jobStates, type Store } from "../db/index.ts";
import { jobRequestSchema } from "../jobs/job-request.ts";

const OPEN_STATES = jobStates.filter((state) => !isFinal(state));
const PAGE = 500;

/** Whether a version has them, or a job that has not ended begins with their values. */
export function adapterFolderUse(store: Pick<Store, "isVersionUsed" | "jobs">, blobs: Pick<Blobs, "folder">): IsUsed {
  return async (hash) => (await store.isVersionUsed(hash)) || isNeededByJob(store, resolve(blobs.folder(hash)));
}

async function isNeededByJob(store: Pick<Store, "jobs">, folder: string): Promise<boolean> {
  for (let after: string | undefined; ;) {
    const { data, hasMore } = await store.jobs({ states: OPEN_STATES, limit: PAGE, after });
    for (const job of data) {
      // A request that cannot be read is that of a job that cannot run.
      const from = jobRequestSchema.safeParse(job.request).data?.from_adapter;
      if (typeof from === "string" && resolve(from) === folder) return true;
    }
    if (!hasMore) return false;
    after = data.at(-1)!.id;
  }
}
