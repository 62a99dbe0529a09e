/** The server's status every two seconds while the page is seen, with the last five minutes. */
import { api } from "./api.ts";
import type { Status } from "./api-types.ts";
import { pushBounded, rateBetween } from "./rates.ts";
import { apiKey } from "./session.ts";
import { repeatWhileSeen } from "./use-resource.ts";
import { createStore } from "./value-store.ts";

const EVERY_MS = 2000;
const KEPT = 150;

/** One reading; null where there was none, or nothing to compare it with. */
export interface Sample {
  readonly atMs: number;
  readonly generatedPerSecond: number | null;
  readonly promptPerSecond: number | null;
  readonly running: number | null;
  readonly waiting: number | null;
}

export interface Feed {
  readonly status: Status | undefined;
  readonly error: unknown;
  readonly samples: readonly Sample[];
}

export const feed = createStore<Feed>({ status: undefined, error: undefined, samples: [] });

/** Call once. Another API key makes it ask at once. */
export function startFeed(): void {
  let lastMs = 0;
  const read = async (signal: AbortSignal): Promise<void> => {
    const before = feed.get();
    try {
      const status = await api.status(signal);
      const atMs = Date.now();
      const sample = sampleOf(before.status, lastMs, status, atMs);
      lastMs = atMs;
      feed.set({ status, error: undefined, samples: pushBounded(before.samples, sample, KEPT) });
    } catch (error) {
      if (!signal.aborted) feed.set({ ...before, error });
    }
  };
  let stop = repeatWhileSeen(EVERY_MS, read);
  apiKey.subscribe(() => {
    stop();
    stop = repeatWhileSeen(EVERY_MS, read);
  });
}

function sampleOf(before: Status | undefined, beforeMs: number, { engine }: Status, atMs: number): Sample {
  const rate = (counter: "generated_tokens" | "prompt_tokens"): number | null => {
    if (!engine || !before?.engine) return null;
    return rateBetween({ atMs: beforeMs, count: before.engine[counter] }, { atMs, count: engine[counter] });
  };
  return {
    atMs,
    generatedPerSecond: rate("generated_tokens"),
    promptPerSecond: rate("prompt_tokens"),
    running: engine?.running ?? null,
    waiting: engine?.waiting ?? null,
  };
}
