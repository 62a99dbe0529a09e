/** Finding the marks of a list in a text. */

/**
 * The parts of `text` behind each mark, and what stands before the first; the marks come in this order. They are looked for from the end, since a question may speak of
 * "Answer1: " but the list comes last. Undefined if a mark is not there.
 */
export function splitAtMarks(
  text: string,
  marks: readonly string[],
): { readonly before: string; readonly parts: readonly string[] } | undefined {
  const parts: string[] = [];
  let end = text.length;
  for (const mark of marks.toReversed()) {
    const at = text.slice(0, end).lastIndexOf(mark);
    if (at < 0) return undefined;
    parts.unshift(text.slice(at + mark.length, end));
    end = at;
  }
  return { before: text.slice(0, end), parts };
}
