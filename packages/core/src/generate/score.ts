/** Scoring given sequences: what several begin with is computed once, and of each row only the asked-for log-probabilities come back. */
import type { AdapterWeights } from "../nn/index.ts";
import type { PagedForward, Row } from "./paged-forward.ts";
import type { PageAllocator } from "./pages.ts";
import { entryOrder, type PagedSequence, PrefixTrail, sharedPages } from "./prefix-trail.ts";

export interface SequenceScore {
  /** ln p(id | everything before), in nats. */
  readonly logprobs: number[];
  /** Was it the most likely one? */
  readonly isGreedy: boolean[];
}

export interface ScoreContext {
  readonly forward: PagedForward;
  readonly pages: PageAllocator;
  readonly vocabSize: number;
  readonly adapter: AdapterWeights | undefined;
  readonly signal: AbortSignal | undefined;
  /** Called as soon as all ids of a sequence have their score. */
  readonly finish: (index: number, score: SequenceScore) => void;
}

/** ids: virtual ones included; `from`: the first of them that is scored, at least 1. */
export interface ScoredSequence {
  readonly ids: readonly number[];
  readonly from: number;
}

/** An id whose probability is asked for. */
interface Target {
  readonly sequence: number;
  readonly position: number;
  readonly id: number;
}

/** Ids to be computed, and what is asked of their rows. */
interface Path {
  readonly ids: readonly number[];
  /** By row. */
  readonly targets: Map<number, Target[]>;
}

/** Bytes of logits that one pass makes at the most. */
const LOGITS_BYTES = 2 ** 26;

export async function scoreSequences(sequences: readonly ScoredSequence[], context: ScoreContext): Promise<void> {
  const { forward, pages, signal, finish, adapter } = context;
  const { pageSize, maxRows } = forward.options;
  const scores = sequences.map((): SequenceScore => ({ logprobs: [], isGreedy: [] }));
  const left = sequences.map(({ ids, from }) => Math.max(0, ids.length - from));
  for (const [n, count] of left.entries()) if (count === 0) finish(n, scores[n]!);
  const paths = pathsOf(sequences);
  const entrants = paths.map(({ ids }) => ({ owner: adapter, ids, length: ids.length }));
  const waiting = entryOrder(entrants, pageSize).map((i) => ({ ...paths[i]!, ...entrants[i]! }));
  passTargetsOn(waiting, pageSize);
  const trail = new PrefixTrail(pages, pageSize);
  let running: { readonly path: Path; readonly sequence: PagedSequence }[] = [];
  try {
    for (let next = 0; next < waiting.length || running.length > 0;) {
      signal?.throwIfAborted();
      let pending = running.reduce((sum, { sequence }) => sum + sequence.ids.length - sequence.cached, 0);
      while (next < waiting.length && pending < maxRows) {
        const sequence = trail.enter(waiting[next]!, waiting[next]!.length, running.length === 0);
        if (!sequence) break;
        pending += sequence.ids.length - sequence.cached;
        running.push({ path: waiting[next++]!, sequence });
      }
      const { rows, targets } = passOf(running, context);
      const { logprobs, isGreedy } = await forward.score(
        rows,
        running.map(({ sequence }) => sequence.pages),
        adapter,
      );
      for (const [i, { sequence, position }] of targets.entries()) {
        const at = position - sequences[sequence]!.from;
        scores[sequence]!.logprobs[at] = logprobs[i]!;
        scores[sequence]!.isGreedy[at] = isGreedy[i]!;
        if (--left[sequence]! === 0) finish(sequence, scores[sequence]!);
      }
      const isOver = ({ sequence }: (typeof running)[number]) => sequence.cached === sequence.ids.length;
      for (const entry of running.filter(isOver)) entry.sequence.release(pages);
      running = running.filter((entry) => !isOver(entry));
    }
  } finally {
    trail.clear();
    for (const { sequence } of running) sequence.release(pages);
  }
}

/** One pass: as many rows as it holds, with the targets of those in their order. */
function passOf(
  running: readonly { readonly path: Path; readonly sequence: PagedSequence }[],
  { forward, vocabSize }: ScoreContext,
): { readonly rows: Row[]; readonly targets: Target[] } {
  const limit = Math.max(1, 2 ** Math.floor(Math.log2(LOGITS_BYTES / (4 * vocabSize))));
  const rows: Row[] = [];
  const targets: Target[] = [];
  let wanted = 0;
  for (const [number, { path, sequence }] of running.entries()) {
    if (!sequence.isReady) continue;
    for (; sequence.cached < sequence.ids.length; sequence.cached++) {
      const own = path.targets.get(sequence.cached);
      if (rows.length === forward.options.maxRows || (own && wanted === limit)) break;
      if (own) wanted++;
      targets.push(...(own ?? []));
      const [id, position] = [sequence.ids[sequence.cached]!, sequence.cached];
      rows.push({ id, position, sequence: number, isWanted: own !== undefined, targets: own?.map((t) => t.id) });
    }
  }
  return { rows, targets };
}

/** The last id of a sequence needs no row. Sequences whose rows are the beginning of another's are part of that one's path. */
function pathsOf(sequences: readonly ScoredSequence[]): Path[] {
  const inputs = sequences.map(({ ids }) => ids.slice(0, -1));
  const paths: Path[] = [];
  // In the order of a dictionary, backwards: whatever a sequence begins comes just before it.
  const sorted = [...inputs.keys()].toSorted((a, b) => compare(inputs[b]!, inputs[a]!) || a - b);
  for (const n of sorted) {
    const { ids, from } = sequences[n]!;
    if (from >= ids.length) continue;
    const last = paths.at(-1);
    const path =
      last && isBeginning(inputs[n]!, last.ids) ? last : { ids: inputs[n]!, targets: new Map<number, Target[]>() };
    if (path !== last) paths.push(path);
    for (let position = from; position < ids.length; position++) {
      addTargets(path.targets, position - 1, [{ sequence: n, position, id: ids[position]! }]);
    }
  }
  return paths;
}

/** What is asked of a row goes to the path that computes it: the first of those that share its page. */
function passTargetsOn(paths: readonly Path[], pageSize: number): void {
  for (let n = paths.length - 1; n > 0; n--) {
    const [before, { ids, targets }] = [paths[n - 1]!, paths[n]!];
    const shared = pageSize * sharedPages(before.ids, ids, pageSize);
    for (const [row, own] of targets) {
      if (row >= shared) continue;
      addTargets(before.targets, row, own);
      targets.delete(row);
    }
  }
}

function addTargets(targets: Map<number, Target[]>, row: number, more: readonly Target[]): void {
  const known = targets.get(row);
  if (known) known.push(...more);
  else targets.set(row, [...more]);
}

function compare(a: readonly number[], b: readonly number[]): number {
  const common = Math.min(a.length, b.length);
  for (let i = 0; i < common; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

function isBeginning(a: readonly number[], b: readonly number[]): boolean {
  return a.length <= b.length && a.every((id, i) => id === b[i]);
}
