/** What a server has and does at one moment. */
import { table } from "../table.ts";
import type { Job, Model, Remote, Status } from "./client.ts";
import { activeJobsTable } from "./job-text.ts";
import { RemoteError } from "./remote-error.ts";
import { hasEnded } from "./events.ts";
import { bytesText, countText, secondsText } from "./text.ts";

export interface Snapshot {
  readonly status: Status;
  readonly adapters: readonly Model[];
  /** Those that have not ended, the oldest first; null: the key may not see jobs. */
  readonly jobs: readonly Job[] | null;
}

/** Throws RemoteError. */
export async function readSnapshot(remote: Remote): Promise<Snapshot> {
  const { api } = remote;
  const [status, { data }, jobs] = await Promise.all([
    api.v1.status.$get().then((answer) => answer.json()),
    api.v1.models.$get().then((answer) => answer.json()),
    openJobs(remote),
  ]);
  return { status, adapters: data.filter(({ parent }) => parent !== null), jobs };
}

async function openJobs({ api }: Remote): Promise<Job[] | null> {
  try {
    const { data } = await (await api.v1.fine_tuning.jobs.$get({ query: { limit: "1000" } })).json();
    return data.filter((job) => !hasEnded(job)).toReversed();
  } catch (error) {
    if (error instanceof RemoteError && error.status === 403) return null;
    throw error;
  }
}

/** `now`: Unix seconds. */
export function snapshotText(snapshot: Snapshot, now: number): string {
  const { status, jobs } = snapshot;
  const { model, model_type: type, device, uptime_seconds: uptime, max_model_len: length } = status;
  const facts = [
    ["model", `${model} (${type}, ${countText(length)} tokens), up ${secondsText(uptime)}`],
    ["device", device],
    ["memory", memoryText(status)],
    ...engineFacts(status),
  ];
  const counts = Object.entries(status.jobs).map(([state, count]) => `${count} ${state}`);
  return [
    facts.map(([name, text]) => `${name!.padEnd(8)}  ${text}`).join("\n"),
    modelsTable(snapshot),
    jobs === null
      ? `jobs: ${counts.join(", ") || "none"} (this key may not see them)`
      : jobs.length === 0
        ? "no jobs run or wait"
        : activeJobsTable(jobs, now),
  ].join("\n\n");
}

function memoryText({ memory: m }: Status): string {
  const parts = [
    `weights ${bytesText(m.weights_bytes)}`,
    `key-value cache ${bytesText(m.kv_bytes)}`,
    `adapters ${bytesText(m.adapter_bytes_on_device)}`,
  ];
  const host = `server ${bytesText(m.rss_bytes)}, adapters on the host ${bytesText(m.adapter_bytes_on_host)}`;
  return `device ${bytesText(m.device_bytes)} (${parts.join(", ")}); ${host}`;
}

function engineFacts({ engine: e }: Status): string[][] {
  if (!e) return [["requests", "the engine's process is being started again"]];
  const cached = e.prompt_tokens === 0 ? 0 : (100 * e.cached_prompt_tokens) / e.prompt_tokens;
  return [
    ["requests", `${e.running} running, ${e.waiting} waiting (${countText(e.waiting_tokens)} tokens)`],
    [
      "tokens",
      `${countText(e.generated_tokens)} generated, ${countText(e.prompt_tokens)} of prompts (${cached.toFixed(0)} % cached)`,
    ],
    [
      "pages",
      `${e.kv_pages_used} of ${e.kv_pages_total} used, ${e.kv_pages_cached} cached; ${e.preemptions} preemptions`,
    ],
  ];
}

function modelsTable({ status: { model, engine }, adapters }: Snapshot): string {
  // The engine counts the base under no name.
  const load = (name: string): string[] => {
    const { running, waiting, generated_tokens: tokens } = engine?.by_adapter[name] ?? NO_LOAD;
    return [String(running), String(waiting), countText(tokens)];
  };
  const rows = adapters.map(({ id, graft }) => [
    id,
    graft?.method ?? "",
    graft?.version ?? "",
    `${graft?.tier ?? ""}${graft?.pinned ? ", pinned" : ""}`,
    bytesText(graft?.bytes ?? null),
    ...load(id),
  ]);
  return table(
    ["model", "method", "version", "where", "size", "running", "waiting", "tokens"],
    [[model, "base", "", "", "", ...load("")], ...rows],
  );
}

const NO_LOAD = { running: 0, waiting: 0, generated_tokens: 0 };
