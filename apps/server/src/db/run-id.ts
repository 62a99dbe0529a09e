/** Names of runs: they sort by time, and their beginnings say when. */
import { randomInt } from "node:crypto";

/** No vowels: no words. No letter that looks like a digit. */
const LETTERS = "23456789bcdfghjkmnpqrstvwxz";

/** 20250131-235959-k3x9q: UTC, and one of 14 million, so that runs of the same second do not meet. */
export function newRunId(at: Date): string {
  const [day, time] = at
    .toISOString()
    .replaceAll(/[-:]|\..*$/g, "")
    .split("T");
  const end = Array.from({ length: 5 }, () => LETTERS[randomInt(LETTERS.length)]).join("");
  return `${day}-${time}-${end}`;
}
