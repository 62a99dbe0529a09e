/** A response as its reader sees it: without markup, and without what a model goes on to write after its answer. */

/** A further problem, a further turn, or an end-of-text mark. */
const continuation =
  /#{2,3}[ \t]*(?:Instruction|Input|Response)\b|\n[ \t]*(?:Q|Question|Problem)\b[ \t]*\d*[ \t]*[:.]|<\/s>|<\|[A-Za-z_]{1,30}\|>/g;

const macros: readonly (readonly [RegExp, string])[] = [
  // Power before bold: 2**3.
  [/(\d)\*\*(?=-?\d)/g, "$1^"],
  [/\*\*|__|`/g, ""],
  [/\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s{0,3}\{([^{}]{0,200})\}/g, "$1"],
  [/\\(?:left|right|displaystyle)(?![A-Za-z])/g, ""],
  [/\\[()[\]]/g, " "],
  [/\\[;: ]/g, " "],
];

/**
 * The answer's own text: up to the next "### Instruction:", "Q:" line or end mark that stands behind anything, bold, code and LaTeX
 * text macros unwrapped. Formulas stay as they are.
 */
export function plainText(response: string): string {
  const begin = response.search(/\S/);
  let end = response.length;
  for (const match of response.matchAll(continuation)) {
    if (match.index <= begin) continue;
    end = match.index;
    break;
  }
  return macros.reduce((text, [pattern, by]) => text.replaceAll(pattern, by), response.slice(0, end));
}
