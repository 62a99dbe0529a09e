/** Jobs that have not ended. */
import { isFinal, type JobRow, jobStates, type Store } from "../db/index.ts";

const OPEN_STATES = jobStates.filter((state) => !isFinal(state));
const PAGE = 500;

/** All of them, the newest first. */
export async function* openJobs(store: Pick<Store, "jobs">): AsyncGenerator<JobRow> {
  for (let after: string | undefined; ;) {
    const { data, hasMore } = await store.jobs({ states: OPEN_STATES, limit: PAGE, after });
    yield* data;
    if (!hasMore) return;
    after = data.at(-1)!.id;
  }
}
