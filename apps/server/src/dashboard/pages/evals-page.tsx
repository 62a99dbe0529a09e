/** Recorded evaluations, and several of them on one task. */
import { useState } from "hono/jsx/dom";
import { api } from "../api.ts";
import type { Run } from "../api-types.ts";
import { compareOn, runName, tasksOf } from "../compare-runs.ts";
import { formatAge, formatCount, formatFigure, formatInterval, formatTime } from "../format.ts";
import { IntervalPlot } from "../parts/interval-plot.tsx";
import { Badge, Empty, LoadState } from "../parts/notice.tsx";
import { hrefOf } from "../place.ts";
import { useResource } from "../use-resource.ts";

const EVERY_MS = 10_000;
/** Runs that are compared before anybody has chosen. */
const AT_FIRST = 8;

export function EvalsPage() {
  const resource = useResource(api.runs, EVERY_MS);
  const runs = resource.data?.data ?? [];
  const [chosen, setChosen] = useState<ReadonlySet<string> | undefined>(undefined);
  const compared = runs.filter(({ id }, i) => (chosen ? chosen.has(id) : i < AT_FIRST));
  const toggle = (id: string): void => {
    const next = new Set(compared.map((run) => run.id));
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  return (
    <>
      <LoadState resource={resource} what="runs" />
      {resource.data && runs.length === 0 ? (
        <Empty command="graft eval --model FOLDER --tasks NAME">
          No evaluations are recorded in this server's data folder. Type:
        </Empty>
      ) : null}
      {runs.length > 0 ? (
        <>
          <Comparison runs={compared} />
          <section class="card" aria-label="Runs">
            <table>
              <thead>
                <tr>
                  <th scope="col">Compare</th>
                  <th scope="col">Run</th>
                  <th scope="col">State</th>
                  <th scope="col" class="wide">
                    Tasks
                  </th>
                  <th scope="col" class="wide">
                    Began
                  </th>
                </tr>
              </thead>
              <tbody>
                {runs.map((run) => (
                  <RunRow key={run.id} run={run} isCompared={compared.includes(run)} onToggle={() => toggle(run.id)} />
                ))}
              </tbody>
            </table>
          </section>
        </>
      ) : null}
    </>
  );
}

function RunRow({ run, isCompared, onToggle }: { run: Run; isCompared: boolean; onToggle: () => void }) {
  const { id, state, results, created_at: createdAt } = run;
  return (
    <tr>
      <td>
        <label class="check">
          <input type="checkbox" checked={isCompared} onChange={onToggle} aria-label={`Compare ${id}`} />
        </label>
      </td>
      <th scope="row">
        <a href={hrefOf("evals", id)}>{runName(run)}</a>
        <div class="quiet">{id}</div>
      </th>
      <td>
        <Badge text={state} />
      </td>
      <td class="wide">{results.map(({ task }) => task).join(", ")}</td>
      <td class="wide" title={formatTime(createdAt)}>
        {formatAge(createdAt, Date.now())}
      </td>
    </tr>
  );
}

function Comparison({ runs }: { runs: readonly Run[] }) {
  const tasks = tasksOf(runs);
  const [wanted, setWanted] = useState<string | undefined>(undefined);
  const task = wanted !== undefined && tasks.includes(wanted) ? wanted : tasks[0];
  if (task === undefined) return <p class="card quiet">Choose runs below that have results.</p>;
  const rows = compareOn(runs, task);
  const metrics = [...new Set(rows.map(({ metric }) => metric))];
  return (
    <section class="card stack" aria-labelledby="comparison">
      <h2 id="comparison">Comparison</h2>
      <label class="short">
        Task
        <select value={task} onChange={(event: Event) => setWanted((event.target as HTMLSelectElement).value)}>
          {tasks.map((one) => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
      </label>
      {metrics.map((metric) => (
        <IntervalPlot
          key={metric}
          title={metric}
          rows={rows
            .filter((row) => row.metric === metric)
            .map(({ run, figure }) => ({ key: run.id, label: runName(run), ...figure }))}
        />
      ))}
      <details>
        <summary>As a table</summary>
        <table>
          <thead>
            <tr>
              <th scope="col">Run</th>
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
            {rows.map(({ run, metric, figure, count }) => (
              <tr key={run.id}>
                <th scope="row">{runName(run)}</th>
                <td>{metric}</td>
                <td class="number">{formatFigure(figure.value)}</td>
                <td class="number">{formatInterval(figure.interval)}</td>
                <td class="number wide">{formatCount(count)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </section>
  );
}
