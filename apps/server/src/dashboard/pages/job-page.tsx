/** One job: its curves and events, live, and what can be asked of it. */
import { useEffect, useRef, useState } from "hono/jsx/dom";
import { announce } from "../announcer.ts";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import type { Job, JobEvent } from "../api-types.ts";
import { formatCount, formatDuration, formatFigure, formatTime } from "../format.ts";
import { changes, curvesOf, hasEnded, progressOf, secondsLeft } from "../job-figures.ts";
import { Confirm, type Question } from "../parts/dialog.tsx";
import { LineChart } from "../parts/line-chart.tsx";
import { Progress } from "../parts/meter.tsx";
import { Badge, LoadState, Notice } from "../parts/notice.tsx";
import { Pair } from "../parts/pair.tsx";
import { hrefOf } from "../place.ts";
import { useJobEvents } from "../use-job-events.ts";
import { useResource } from "../use-resource.ts";

const EVERY_MS = 2000;
const MESSAGES = 200;

export function JobPage({ id }: { id: string }) {
  const job = useResource((signal) => api.job(id, signal), EVERY_MS);
  const { events, isConnected, error } = useJobEvents(id);
  return (
    <>
      <p>
        <a href={hrefOf("jobs")}>All jobs</a>
      </p>
      <LoadState resource={job} what="the job" />
      {job.data ? <Summary job={job.data} onChange={job.reload} /> : null}
      {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
      <Curves events={events} />
      <Checkpoints id={id} status={job.data?.status} />
      <Messages events={events} isLive={isConnected && job.data !== undefined && !hasEnded(job.data)} />
    </>
  );
}

function Summary({ job, onChange }: { job: Job; onChange: () => void }) {
  const { id, status, model, fine_tuned_model: result, created_at: createdAt, finished_at: finishedAt, graft } = job;
  const [question, setQuestion] = useState<Question | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const progress = progressOf(job);
  const left = secondsLeft(job, Date.now());
  const supervised = job.method?.supervised;
  const change = async (what: "cancel" | "pause" | "resume"): Promise<void> => {
    await api.changeJob(id, what);
    announce(`Job ${id}: ${what} is asked for.`);
    setError(undefined);
    onChange();
  };
  const cancel: Question = {
    title: "Cancel this job?",
    text: "It ends for good. Its checkpoints stay.",
    action: "Cancel job",
    run: () => change("cancel"),
  };
  return (
    <section class="card" aria-label="State">
      <div class="actions start">
        <Badge text={status} />
        {changes[status].map((what) => (
          <button
            key={what}
            type="button"
            class={what === "cancel" ? "danger" : ""}
            onClick={() => {
              if (what === "cancel") setQuestion(cancel);
              else change(what).catch(setError);
            }}
          >
            {{ cancel: "Cancel", pause: "Pause", resume: "Resume" }[what]}
          </button>
        ))}
        {result === null ? null : (
          <a key="try" class="button primary" href={hrefOf("playground", undefined, { b: result })}>
            Try the result
          </a>
        )}
      </div>
      <Progress label="Progress" value={progress}>
        {graft?.total_steps
          ? `step ${formatCount(graft.step ?? 0)} of ${formatCount(graft.total_steps)}`
          : "no steps yet"}
        {left === undefined ? "" : `, ${formatDuration(left)} left`}
      </Progress>
      {job.error ? <Notice kind="error">{job.error.message}</Notice> : null}
      {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
      <dl class="pairs">
        <Pair name="Base" value={model} />
        <Pair name="Result" value={result ?? "not yet"} />
        <Pair name="Method" value={String(supervised?.adapter?.["name"] ?? "lora")} />
        <Pair name="Loss" value={formatFigure(graft?.loss)} />
        <Pair name="Trained tokens" value={formatCount(job.trained_tokens)} />
        <Pair name="Training file" value={job.training_file} />
        <Pair name="Validation file" value={job.validation_file ?? "none"} />
        <Pair name="Created" value={formatTime(createdAt)} />
        <Pair name="Finished" value={finishedAt === null ? "not yet" : formatTime(finishedAt)} />
      </dl>
      <details>
        <summary>Settings</summary>
        <dl class="pairs">
          {Object.entries({ ...supervised?.hyperparameters, ...supervised?.adapter }).map(([name, value]) => (
            <Pair
              key={`setting ${name}`}
              name={name}
              value={typeof value === "string" ? value : JSON.stringify(value)}
            />
          ))}
        </dl>
      </details>
      {question ? <Confirm question={question} onClose={() => setQuestion(undefined)} /> : null}
    </section>
  );
}

function Curves({ events }: { events: readonly JobEvent[] }) {
  const { steps, training, validation, learningRate } = curvesOf(events);
  if (steps.length === 0) return <p class="card quiet">The curves begin with the first step.</p>;
  const hasValidation = validation.some((loss) => loss !== null);
  return (
    <section class="charts" aria-label="Curves">
      <div class="card">
        <LineChart
          title="Loss"
          height={260}
          xLabel="Step"
          hasTable
          x={steps}
          formatX={formatCount}
          lines={[
            { label: "training", tone: "main", values: training },
            ...(hasValidation
              ? [{ label: "validation", tone: "second" as const, values: validation, isSparse: true }]
              : []),
          ]}
        />
      </div>
      <div class="card">
        <LineChart
          title="Learning rate"
          height={260}
          xLabel="Step"
          hasTable
          x={steps}
          formatX={formatCount}
          lines={[{ label: "learning rate", tone: "third", values: learningRate }]}
        />
      </div>
    </section>
  );
}

/** Asked for again when the job's state changes, and now and then while it goes on. */
function Checkpoints({ id, status }: { id: string; status: string | undefined }) {
  const isGoing = status === "running" || status === "queued";
  const checkpoints = useResource((signal) => api.checkpoints(id, signal), isGoing ? 5000 : undefined, status);
  const list = checkpoints.data?.data ?? [];
  return (
    <section class="card" aria-labelledby="checkpoints">
      <h2 id="checkpoints">Checkpoints</h2>
      <LoadState resource={checkpoints} what="checkpoints" />
      {checkpoints.data && list.length === 0 ? <p class="quiet">None saved yet.</p> : null}
      {list.length > 0 ? (
        <table>
          <thead>
            <tr>
              <th scope="col" class="number">
                Step
              </th>
              <th scope="col" class="number">
                Training loss
              </th>
              <th scope="col" class="number">
                Validation loss
              </th>
              <th scope="col" class="wide">
                Saved
              </th>
            </tr>
          </thead>
          <tbody>
            {list.map((one) => (
              <tr key={one.id}>
                <th scope="row" class="number">
                  {formatCount(one.step_number)}
                </th>
                <td class="number">{formatFigure(one.metrics.train_loss)}</td>
                <td class="number">{formatFigure(one.metrics.valid_loss)}</td>
                <td class="wide">{formatTime(one.created_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ) : null}
    </section>
  );
}

function Messages({ events, isLive }: { events: readonly JobEvent[]; isLive: boolean }) {
  const messages = events.filter(({ type }) => type === "message").slice(-MESSAGES);
  const log = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  // Who has scrolled up to read is left there.
  useEffect(() => {
    if (isAtEnd.current) log.current?.scrollTo({ top: log.current.scrollHeight });
  }, [messages.length]);
  const onScroll = (event: Event): void => {
    const { scrollTop, scrollHeight, clientHeight } = event.currentTarget as HTMLElement;
    isAtEnd.current = scrollTop + clientHeight > scrollHeight - 20;
  };
  return (
    <section class="card" aria-labelledby="events">
      <h2 id="events">
        Events <span class={isLive ? "badge good" : "badge"}>{isLive ? "live" : "not live"}</span>
      </h2>
      {messages.length === 0 ? <p class="quiet">None yet.</p> : null}
      <div ref={log} onScroll={onScroll} class="log" role="log" aria-label="Events of the job" tabindex={0}>
        <ol>
          {messages.map(({ id, level, message, created_at: createdAt }) => (
            <li key={id} class={level}>
              <time>{formatTime(createdAt)}</time> {level === "info" ? "" : `${level}: `}
              {message}
            </li>
          ))}
        </ol>
      </div>
    </section>
  );
}
