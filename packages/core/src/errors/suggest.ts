/** Near names for a name nobody has. */

/**
 * The names closest to `name` (edit distance with swaps, case ignored, at most a third of the longer length), nearest first, at most `limit`.
 * Distance: optimal string alignment, Damerau 1964.
 */
export function nearNames(name: string, available: Iterable<string>, limit = 3): string[] {
  const wanted = name.toLowerCase();
  const near: { candidate: string; distance: number }[] = [];
  for (const candidate of available) {
    const other = candidate.toLowerCase();
    const allowed = Math.max(1, Math.floor(Math.max(wanted.length, other.length) / 3));
    if (Math.abs(wanted.length - other.length) > allowed) continue;
    const distance = editDistance(wanted, other);
    if (distance <= allowed) near.push({ candidate, distance });
  }
  return near
    .toSorted((a, b) => a.distance - b.distance)
    .slice(0, limit)
    .map((n) => n.candidate);
}

/**
 * The end of an UnknownName message: `; did you mean lora? Available: lora, series`. Lists at most `listed` names and says how many more there are.
 */
export function suggest(name: string, available: Iterable<string>, listed = 20): string {
  const names = [...available];
  const near = nearNames(name, names);
  const question = near.length > 0 ? `; did you mean ${near.join(" or ")}?` : ".";
  if (names.length === 0) return `${question} Available: none`;
  const more = names.length > listed ? `, and ${names.length - listed} more` : "";
  return `${question} Available: ${names.slice(0, listed).join(", ")}${more}`;
}

function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, c) => c);
  for (let r = 1; r <= a.length; r++) {
    const row = [r];
    for (let c = 1; c <= b.length; c++) {
      const cost = a[r - 1] === b[c - 1] ? 0 : 1;
      let best = Math.min(last[c]! + 1, row[c - 1]! + 1, last[c - 1]! + cost);
      if (r > 1 && c > 1 && a[r - 1] === b[c - 2] && a[r - 2] === b[c - 1])
        best = Math.min(best, beforeLast[c - 2]! + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
