/** How far a command is, for people. */

/**
 * A counter on stderr: one live line on a terminal; elsewhere a line every ten seconds, and one at the end. What `isPassing` leaves no line behind when it ends.
 */
export function counter(
  label: string,
  log: (line: string) => void,
  { isPassing = false } = {},
): (done: number, total: number, note?: string) => void {
  let shown = performance.now();
  return (done, total, note = "") => {
    const line = `${label} ${done}/${total}${note}`;
    const isEnd = done === total;
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[K${isEnd && isPassing ? "" : line}${isEnd && !isPassing ? "\n" : ""}`);
    } else if ((isEnd && !isPassing) || performance.now() - shown > 10_000) {
      shown = performance.now();
      log(line);
    }
  };
}
