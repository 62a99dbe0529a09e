/** What the server has and does at the moment. */
import { formatBytes, formatCount, formatDuration, formatRate } from "../format.ts";
import { explain } from "../api-failure.ts";
import type { EngineStatus, Status } from "../api-types.ts";
import { LineChart } from "../parts/line-chart.tsx";
import { ShareMeter } from "../parts/meter.tsx";
import { Notice } from "../parts/notice.tsx";
import { Pair } from "../parts/pair.tsx";
import { hrefOf } from "../place.ts";
import { feed, type Sample } from "../status-feed.ts";
import { useStore } from "../value-store.ts";

const BUSIEST = 12;

export function OverviewPage() {
  const { status, error, samples } = useStore(feed);
  return (
    <>
      {error === undefined ? null : <Notice kind="error">{explain(error)} It is asked again every two seconds.</Notice>}
      {status ? <Figures status={status} samples={samples} /> : error ? null : <p class="quiet">Loading status …</p>}
    </>
  );
}

function Figures({ status, samples }: { status: Status; samples: readonly Sample[] }) {
  const { engine, memory, jobs } = status;
  const now = samples.at(-1);
  return (
    <>
      {engine ? null : (
        <Notice kind="error">The engine is being started again. Requests are refused until it is ready.</Notice>
      )}
      <dl class="tiles">
        <Tile
          name="Model"
          value={status.model}
          detail={`${status.model_type}, context ${formatCount(status.max_model_len)}`}
        />
        <Tile name="Device" value={status.device} detail={`up ${formatDuration(status.uptime_seconds)}`} />
        <Tile
          name="Requests"
          value={`${formatCount(engine?.running)} running`}
          detail={`${formatCount(engine?.waiting)} waiting, ${formatCount(engine?.waiting_tokens)} tokens`}
        />
        <Tile
          name="Tokens per second"
          value={formatRate(now?.generatedPerSecond)}
          detail={`prompts ${formatRate(now?.promptPerSecond)}`}
        />
        <Tile
          name="Jobs"
          value={`${formatCount(jobs.running ?? 0)} running`}
          detail={`${formatCount(jobs.queued ?? 0)} queued, ${formatCount(jobs.paused ?? 0)} paused`}
        />
        <Tile
          name="Adapters"
          value={formatCount(engine?.adapters)}
          detail={`${formatCount(engine?.adapters_on_device)} on the device`}
        />
      </dl>
      <section class="charts" aria-label="Last five minutes">
        <TimeChart
          title="Tokens per second"
          samples={samples}
          lines={[
            { label: "generated", tone: "main", of: (s) => s.generatedPerSecond },
            { label: "prompts", tone: "second", of: (s) => s.promptPerSecond },
          ]}
          leastMax={10}
          format={formatRate}
        />
        <TimeChart
          title="Requests"
          samples={samples}
          lines={[
            { label: "running", tone: "main", of: (s) => s.running },
            { label: "waiting", tone: "second", of: (s) => s.waiting },
          ]}
          leastMax={4}
          format={formatCount}
        />
      </section>
      <section class="card" aria-labelledby="memory">
        <h2 id="memory">Memory</h2>
        <DeviceMemory memory={memory} />
        {engine ? (
          <>
            <h3>KV cache pages</h3>
            <ShareMeter
              label="Pages of the KV cache"
              total={engine.kv_pages_total}
              format={formatCount}
              shares={[
                { label: "used", value: engine.kv_pages_used, tone: "main" },
                { label: "cached prefixes", value: engine.kv_pages_cached, tone: "second" },
              ]}
            />
          </>
        ) : null}
        <dl class="pairs">
          <Pair name="Adapters on the device" value={formatBytes(memory.adapter_bytes_on_device)} />
          <Pair name="Adapters in the host's memory" value={formatBytes(memory.adapter_bytes_on_host)} />
          <Pair name="The server's own process" value={formatBytes(memory.rss_bytes)} />
        </dl>
      </section>
      {engine ? <Totals engine={engine} /> : null}
    </>
  );
}

function DeviceMemory({ memory }: { memory: Status["memory"] }) {
  const { device_bytes: total, weights_bytes: weights, kv_bytes: kv, adapter_bytes_on_device: adapters } = memory;
  const known = weights + kv + (adapters ?? 0);
  return (
    <>
      <h3>Device: {formatBytes(total)} held</h3>
      <ShareMeter
        label="Memory of the device"
        total={Math.max(total ?? 0, known)}
        format={formatBytes}
        restLabel="other"
        shares={[
          { label: "weights", value: weights, tone: "main" },
          { label: "KV cache", value: kv, tone: "second" },
          { label: "adapters", value: adapters ?? 0, tone: "third" },
        ]}
      />
    </>
  );
}

function Totals({ engine }: { engine: EngineStatus }) {
  const busiest = Object.entries(engine.by_adapter)
    .sort(([, a], [, b]) => b.running + b.waiting - a.running - a.waiting || b.generated_tokens - a.generated_tokens)
    .slice(0, BUSIEST);
  return (
    <section class="card" aria-labelledby="totals">
      <h2 id="totals">Since the engine started</h2>
      <dl class="pairs">
        <Pair name="Generated tokens" value={formatCount(engine.generated_tokens)} />
        <Pair name="Prompt tokens" value={formatCount(engine.prompt_tokens)} />
        <Pair name="Of these from the prefix cache" value={formatCount(engine.cached_prompt_tokens)} />
        <Pair name="Preemptions" value={formatCount(engine.preemptions)} />
        {engine.training_tokens === undefined ? null : (
          <Pair name="Training tokens" value={formatCount(engine.training_tokens)} />
        )}
      </dl>
      {busiest.length === 0 ? (
        <p class="quiet">
          No requests yet. Try one in the <a href={hrefOf("playground")}>playground</a>.
        </p>
      ) : (
        <table>
          <caption>Busiest models</caption>
          <thead>
            <tr>
              <th scope="col">Model</th>
              <th scope="col" class="number">
                Running
              </th>
              <th scope="col" class="number">
                Waiting
              </th>
              <th scope="col" class="number">
                Tokens
              </th>
            </tr>
          </thead>
          <tbody>
            {busiest.map(([name, load]) => (
              <tr key={`of ${name}`}>
                <th scope="row">{name === "" ? "the base" : name}</th>
                <td class="number">{formatCount(load.running)}</td>
                <td class="number">{formatCount(load.waiting)}</td>
                <td class="number">{formatCount(load.generated_tokens)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

interface TimeLine {
  readonly label: string;
  readonly tone: "main" | "second";
  readonly of: (sample: Sample) => number | null;
}

function TimeChart(props: {
  title: string;
  samples: readonly Sample[];
  lines: readonly TimeLine[];
  leastMax: number;
  format: (x: number | null) => string;
}) {
  const { title, samples, lines, leastMax, format } = props;
  const latest = samples.at(-1)?.atMs ?? 0;
  return (
    <div class="card">
      <LineChart
        title={title}
        height={150}
        xLabel="Seconds ago"
        x={samples.map(({ atMs }) => (atMs - latest) / 1000)}
        formatX={(x) => (x === 0 ? "now" : `${Math.round(x)} s`)}
        formatY={format}
        leastMax={leastMax}
        lines={lines.map(({ label, tone, of }) => ({ label, tone, values: samples.map(of) }))}
      />
    </div>
  );
}

function Tile({ name, value, detail }: { name: string; value: string; detail: string }) {
  return (
    <div class="card tile">
      <dt>{name}</dt>
      <dd>
        <b>{value}</b> <span>{detail}</span>
      </dd>
    </div>
  );
}
