/** Training jobs, and the form for a new one. */
import { useState } from "hono/jsx/dom";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import type { Job } from "../api-types.ts";
import { formatAge, formatDuration, formatTime } from "../format.ts";
import { progressOf, secondsLeft } from "../job-figures.ts";
import { JobForm } from "../parts/job-form.tsx";
import { Progress } from "../parts/meter.tsx";
import { Badge, Empty, LoadState, Notice } from "../parts/notice.tsx";
import { hrefOf } from "../place.ts";
import { useResource } from "../use-resource.ts";

const EVERY_MS = 3000;

export function JobsPage() {
  const newest = useResource((signal) => api.jobs(undefined, signal), EVERY_MS);
  const [older, setOlder] = useState<readonly Job[]>([]);
  const [hasMore, setHasMore] = useState<boolean | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const first = newest.data?.data ?? [];
  const known = new Set(first.map(({ id }) => id));
  const jobs = [...first, ...older.filter(({ id }) => !known.has(id))];
  const loadOlder = async (): Promise<void> => {
    try {
      const page = await api.jobs(jobs.at(-1)?.id);
      setOlder([...older, ...page.data]);
      setHasMore(page.has_more ?? false);
      setError(undefined);
    } catch (failure) {
      setError(failure);
    }
  };
  return (
    <>
      <LoadState resource={newest} what="jobs" />
      {newest.data && jobs.length === 0 ? (
        <Empty command="graft jobs create --file data.jsonl">No jobs yet. Fill in the form below, or type:</Empty>
      ) : null}
      {jobs.length > 0 ? (
        <section class="card" aria-label="Jobs">
          <table>
            <thead>
              <tr>
                <th scope="col">Job</th>
                <th scope="col">State</th>
                <th scope="col" class="grow">
                  Progress
                </th>
                <th scope="col" class="wide">
                  Created
                </th>
              </tr>
            </thead>
            <tbody>
              {jobs.map((job) => (
                <JobRow key={job.id} job={job} />
              ))}
            </tbody>
          </table>
          {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
          {(hasMore ?? newest.data?.has_more) ? (
            <div class="actions">
              <button type="button" onClick={() => void loadOlder()}>
                Show older jobs
              </button>
            </div>
          ) : null}
        </section>
      ) : null}
      <JobForm />
    </>
  );
}

function JobRow({ job }: { job: Job }) {
  const { id, status, user_provided_suffix: suffix, created_at: createdAt } = job;
  const progress = progressOf(job);
  const left = secondsLeft(job, Date.now());
  return (
    <tr>
      <th scope="row">
        <a href={hrefOf("jobs", id)}>{suffix || id}</a>
        {suffix ? <div class="quiet wide">{id}</div> : null}
      </th>
      <td>
        <Badge text={status} />
      </td>
      <td class="grow">
        <Progress label={`Progress of ${suffix || id}`} value={progress}>
          {progress === undefined ? "" : `${Math.floor(progress * 100)} %`}
          {left === undefined ? "" : `, ${formatDuration(left)} left`}
        </Progress>
      </td>
      <td class="wide" title={formatTime(createdAt)}>
        {formatAge(createdAt, Date.now())}
      </td>
    </tr>
  );
}
