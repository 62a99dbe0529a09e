/** Log-probabilities of a token and of the likeliest ones. */
import type { TokenLogprob } from "./engine.ts";

/** ln softmax(logits) of `id` and of the `top` likeliest, equal ones by id. One pass over the vocabulary for the sum and one for the best. */
export function tokenLogprob(logits: ArrayLike<number>, id: number, top: number): TokenLogprob {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) most = Math.max(most, logits[i]!);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - most);
  const logSum = most + Math.log(sum);
  const entry = (i: number) => ({ id: i, logprob: logits[i]! - logSum });
  return { ...entry(id), top: likeliest(logits, top).map(entry) };
}

/** Indexes of the `count` highest values in falling order, equal ones by index. */
function likeliest(values: ArrayLike<number>, count: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length && count > 0; i++) {
    const value = values[i]!;
    if (best.length === count && value <= values[best.at(-1)!]!) continue;
    let at = best.length;
    while (at > 0 && value > values[best[at - 1]!]!) at--;
    best.splice(at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}
