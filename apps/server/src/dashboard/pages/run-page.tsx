/** One evaluation: every figure with its interval. */
import { api } from "../api.ts";
import type { Run } from "../api-types.ts";
import { byMetric } from "../compare-runs.ts";
import { formatCount, formatFigure, formatInterval, formatTime } from "../format.ts";
import { IntervalPlot } from "../parts/interval-plot.tsx";
import { Badge, LoadState, Notice } from "../parts/notice.tsx";
import { Pair } from "../parts/pair.tsx";
import { hrefOf } from "../place.ts";
import { useResource } from "../use-resource.ts";

export function RunPage({ id }: { id: string }) {
  const run = useResource((signal) => api.run(id, signal));
  return (
    <>
      <p>
        <a href={hrefOf("evals")}>All runs</a>
      </p>
      <LoadState resource={run} what="the run" />
      {run.data ? <Figures run={run.data} /> : null}
    </>
  );
}

function Figures({ run }: { run: Run }) {
  const { model, adapter, state, error, results, created_at: createdAt, finished_at: finishedAt } = run;
  return (
    <>
      <section class="card" aria-label="Run">
        <Badge text={state} />
        {error === null ? null : <Notice kind="error">{error}</Notice>}
        <dl class="pairs">
          <Pair name="Model" value={model} />
          <Pair name="Adapter" value={adapter ?? "none"} />
          <Pair name="Began" value={formatTime(createdAt)} />
          <Pair name="Ended" value={finishedAt === null ? "not yet" : formatTime(finishedAt)} />
        </dl>
        {results.flatMap(({ task, contamination }) =>
          contamination.map((line) => (
            <Notice key={task + line} kind="info">
              {task}: {line}
            </Notice>
          )),
        )}
      </section>
      {results.length === 0 ? <p class="quiet">No results yet.</p> : <Plots run={run} />}
      {results.length === 0 ? null : <Table run={run} />}
    </>
  );
}

function Plots({ run }: { run: Run }) {
  return (
    <section class="charts" aria-label="Figures as plots">
      {[...byMetric(run)].map(([metric, rows]) => (
        <div key={metric} class="card">
          <IntervalPlot title={metric} rows={rows.map(({ task, figure }) => ({ key: task, label: task, ...figure }))} />
        </div>
      ))}
    </section>
  );
}

function Table({ run }: { run: Run }) {
  return (
    <section class="card" aria-label="Figures as a table">
      <table>
        <thead>
          <tr>
            <th scope="col">Task</th>
            <th scope="col">Metric</th>
            <th scope="col" class="number">
              Figure
            </th>
            <th scope="col" class="number">
              95 % interval
            </th>
            <th scope="col" class="number wide">
              Documents
            </th>
          </tr>
        </thead>
        <tbody>
          {run.results.flatMap(({ task, figures, primary, count }) =>
            Object.entries(figures).map(([metric, figure]) => (
              <tr key={`${task} ${metric}`}>
                <th scope="row">{task}</th>
                <td>{metric === primary ? <b>{metric}</b> : metric}</td>
                <td class="number">{formatFigure(figure.value)}</td>
                <td class="number">{formatInterval(figure.interval)}</td>
                <td class="number wide">{formatCount(count)}</td>
              </tr>
            )),
          )}
        </tbody>
      </table>
    </section>
  );
}
