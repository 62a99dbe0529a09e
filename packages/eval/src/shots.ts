/** Few-shot prompts: solved problems before the question. */
import { hashText, Random } from "@graft/core/random";
import type { Doc } from "./doc.ts";

/** Between solved problems, and between the last one and the question. lm-evaluation-harness, fewshot_delimiter. */
export const SHOT_DELIMITER = "\n\n";

/**
 * `count` docs of the pool for the doc with that number, drawn without replacement; the same seed, task and number give the same ones. A doc is never its own shot,
 * and neither is one that asks the same. Throws RangeError if the pool is too small.
 */
export function drawShots(
  pool: readonly Doc[],
  count: number,
  { doc, index, task, seed }: { doc: Doc; index: number; task: string; seed: number },
): readonly Doc[] {
  if (count === 0) return [];
  const random = new Random(seed, hashText(`${task} ${index}`));
  const own = JSON.stringify(doc);
  const chosen = new Set<number>();
  // At most every doc of the pool is tried once.
  const order = new Set<number>();
  while (chosen.size < count && order.size < pool.length) {
    const i = random.int(pool.length);
    if (order.has(i)) continue;
    order.add(i);
    if (JSON.stringify(pool[i]) !== own) chosen.add(i);
  }
  if (chosen.size < count)
    throw new RangeError(`${task}: ${count} shots are asked for and there are only ${chosen.size} other problems`);
  return [...chosen].map((i) => pool[i]!);
}
