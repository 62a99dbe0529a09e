/** Where two words stand side by side in many texts. */

export interface PairIndex {
  /** Places of the first word. Besides those of the pair there may be places of others, which share its bucket. */
  places(first: number, second: number): Uint32Array;
}

/** words: all texts, one behind the other; ends: where each text ends. Linear in the words; 4 bytes for each and 4 to 8 for the buckets. */
export function indexPairs(words: Uint32Array, ends: Uint32Array): PairIndex {
  const bits = Math.max(1, Math.ceil(Math.log2(words.length + 1)));
  const bucketOf = (a: number, b: number): number =>
    Math.imul(Math.imul(a, 0x9e3779b1) ^ (b + 0x7f4a7c15), 0x85ebca6b) >>> (32 - bits);
  const starts = new Uint32Array(2 ** bits + 1);
  eachPair(words, ends, (at) => starts[bucketOf(words[at]!, words[at + 1]!) + 1]!++);
  for (let i = 1; i < starts.length; i++) starts[i]! += starts[i - 1]!;
  const sorted = new Uint32Array(starts.at(-1)!);
  const next = starts.slice();
  eachPair(words, ends, (at) => {
    sorted[next[bucketOf(words[at]!, words[at + 1]!)]!++] = at;
  });
  return {
    places(first, second) {
      const bucket = bucketOf(first, second);
      return sorted.subarray(starts[bucket], starts[bucket + 1]);
    },
  };
}

function eachPair(words: Uint32Array, ends: Uint32Array, visit: (at: number) => void): void {
  let at = 0;
  for (const end of ends) {
    for (; at + 1 < end; at++) visit(at);
    at = end;
  }
}
