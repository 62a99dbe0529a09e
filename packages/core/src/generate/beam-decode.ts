/** Beam searches side by side, as many as sequences and pages allow. */
import { BeamRun, pagesFor } from "./beam-run.ts";
import type { RunContext } from "./decode.ts";
import type { OwnedRequest } from "./ids-request.ts";
import type { FinishReason } from "./language-model.ts";
import type { Row } from "./paged-forward.ts";
import { entryOrder, PrefixTrail } from "./prefix-trail.ts";

interface Running {
  readonly request: OwnedRequest;
  readonly beams: number;
  /** Pages it may hold at once. */
  readonly most: number;
  readonly run: BeamRun;
}

/** Runs requests of one adapter, each with more than one beam. */
export async function decodeBeams(requests: readonly OwnedRequest[], context: RunContext): Promise<void> {
  const { forward, pages, signal, finish } = context;
  const { pageSize, maxSequences } = forward.options;
  const entrants = requests.map((request) => {
    const length = request.promptIds.length + request.maxNewTokens;
    return {
      request: { ...request, numBeams: request.numBeams! },
      owner: request.adapter,
      ids: request.promptIds,
      length,
    };
  });
  const waiting = entryOrder(entrants, pageSize).map((i) => ({ ...entrants[i]!, source: requests[i]! }));
  const trail = new PrefixTrail(pages, pageSize);
  let running: Running[] = [];
  const sum = (of: (entry: Running) => number) => running.reduce((total, entry) => total + of(entry), 0);
  try {
    for (let next = 0; next < waiting.length || running.length > 0;) {
      signal?.throwIfAborted();
      for (; next < waiting.length; next++) {
        const entrant = waiting[next]!;
        const { request, source } = entrant;
        const beams = request.numBeams;
        const most = pagesFor(entrant.ids.length, request.maxNewTokens, beams, pageSize);
        if (sum((e) => e.beams) + beams > maxSequences) break;
        // Alone it always fits: what the trail then holds is the beginning of its own prompt.
        if (running.length > 0 && sum((e) => e.most) + trail.heldPages + most > pages.total) break;
        const prompt = trail.enter(entrant, entrant.ids.length, running.length === 0);
        if (!prompt) break;
        running.push({ request: source, beams, most, run: new BeamRun(request, prompt, pages, pageSize) });
      }
      await pass(running, context);
      for (const { request, run } of running.filter((entry) => entry.run.isDone)) {
        run.release();
        const reason = (ids: readonly number[]): FinishReason => (request.eos.has(ids.at(-1)!) ? "stop" : "length");
        finish(
          request,
          run.results().map(({ ids, score }) => ({ ids, score, finishReason: reason(ids) })),
        );
      }
      running = running.filter((entry) => !entry.run.isDone);
    }
  } finally {
    trail.clear();
    for (const { run } of running) run.release();
  }
}

/** One pass: the beams of every search that is past its prompt, then chunks of prompts as far as rows last. */
async function pass(running: readonly Running[], { forward, vocabSize }: RunContext): Promise<void> {
  const rows: Row[] = [];
  const pages: (readonly number[])[] = [];
  const copies: { readonly from: number; readonly to: number }[] = [];
  const readers: { run: BeamRun; wanted: number }[] = [];
  const runs = running.map(({ run }) => run);
  for (const run of [...runs.filter((r) => !r.isInPrompt), ...runs.filter((r) => r.isInPrompt)]) {
    const part = run.next(forward.options.maxRows - rows.length);
    if (!part) continue;
    rows.push(...part.rows.map((row) => ({ ...row, sequence: row.sequence + pages.length })));
    pages.push(...part.pages);
    copies.push(...part.copies);
    readers.push({ run, wanted: part.rows.filter((row) => row.isWanted).length });
  }
  await forward.copyPages(copies);
  const logits = await forward.run(rows, pages, running[0]!.request.adapter);
  let at = 0;
  for (const { run, wanted } of readers) {
    run.take(Array.from({ length: wanted }, (_, i) => logits.subarray((at + i) * vocabSize, (at + i + 1) * vocabSize)));
    at += wanted;
  }
}
