/** Text in columns. */

/** Rows under their heads, each column as wide as its widest entry; columns of numbers stand to the right. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heads.map((head, c) => Math.max(head.length, ...rows.map((row) => row[c]!.length)));
  const isNumber = heads.map((_, c) => rows.every((row) => /^-?[\d.,e+-]*$/.test(row[c]!)));
  const line = (row: readonly string[]): string =>
    row
      .map((text, c) => (isNumber[c] ? text.padStart(widths[c]!) : text.padEnd(widths[c]!)))
      .join("  ")
      .trimEnd();
  return [heads, ...rows].map(line).join("\n");
}
