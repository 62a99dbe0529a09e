/** What of a row is compared: the question and its listed answers, without the sentences that every row of a data set shares. */

/** A question as it is compared. */
export interface QuestionText {
  /** Without the list of answers. */
  readonly text: string;
  /** The listed answers without their labels; none where nothing is listed. */
  readonly choices: readonly string[];
}

/** LLM-Adapters' "Please choose the correct answer to the question: " and its kin, and "Question:" as many write it. */
const OPENING = /^\s*(?:Please (?:choose|answer)\b[^:\n]{0,120}:|(?:Question|Problem|Q)\s*:)\s*/i;
const CLOSING = /Answer format:[^\n]*\s*$/i;
const HEADING = /(?:the |answer )?(?:options|choices)(?: are)?\s{0,2}:?$/i;
/**
 * "Answer1:", "(A)" and "A )" where a word could begin; "B.", "B:", "2." and "(2)" at the beginning of a line, as sentences end in numbers and letters too.
 * One group for each way to write it.
 */
const LABEL =
  /(?<=^|[\s,['"])(?:(?:answer|solution|ending|option|choice)\s?([1-9A-H])\s?[:.)]|\(([A-H])\s?\)|([A-H])\s?\)|(?<=^[ \t]{0,8})(?:([A-H])\s?[.:]|([1-9])\s?[.:)]|\(([1-9])\)))/gim;

/** Question and listed answers of an instruction in LLM-Adapters' form, or of any text that ends in a list labelled A, B, ... or 1, 2, .... */
export function questionText(text: string): QuestionText {
  const body = text.replace(OPENING, "").replace(CLOSING, "");
  const list = lastList(body);
  if (list.length === 0) return { text: body.trim(), choices: [] };
  const question = body.slice(0, list[0]!.at).trim().replace(HEADING, "").trim();
  if (question === "") return { text: body.trim(), choices: [] };
  return {
    text: question,
    choices: list.map(({ end }, i) => body.slice(end, list[i + 1]?.at ?? body.length).trim()),
  };
}

interface Label {
  readonly at: number;
  readonly end: number;
}

/** The labels of the last list of two or more entries in order. */
function lastList(text: string): readonly Label[] {
  let last: readonly Label[] = [];
  const open = new Map<string, Label[]>();
  for (const match of text.matchAll(LABEL)) {
    const group = match.findIndex((mark, i) => i > 0 && mark !== undefined);
    const mark = match[group]!.toUpperCase();
    const isDigit = mark <= "9";
    // Labels of one list are written alike.
    const style = `${group} ${isDigit}`;
    const place = mark.charCodeAt(0) - (isDigit ? "1" : "A").charCodeAt(0);
    const label = { at: match.index, end: match.index + match[0].length };
    const list = place === 0 ? [] : open.get(style);
    if (list?.length !== place) continue;
    list.push(label);
    open.set(style, list);
    if (list.length >= 2) last = list;
  }
  return last;
}
