/** Recognising a listed answer by its text. */

/** Words, numbers (without commas and trailing zeros) and single signs, in lower case, as far as the caller reads. */
function* tokens(text: string): Generator<string> {
  for (const [token] of text.matchAll(/\p{L}+(?:['’]\p{L}+)*|\d+(?:,\d{3})*(?:\.\d+)?|[^\s\p{L}\d]/gu)) {
    const isNumber = /^\d/.test(token);
    yield isNumber ? String(Number(token.replaceAll(",", ""))) : token.toLowerCase().replaceAll("’", "'");
  }
}

const marks = /^["'“”‘`*_([{:=]$/;
const articles = /^(?:the|a|an)$/;
const ends = /^["'”’)\]}*.;!?,:]$/;
const reasons = /^(?:because|since|as|so|which|due|not)$/;

/** Without opening marks and an article. */
function core(all: readonly string[]): readonly string[] {
  const begin = all.findIndex((token) => !marks.test(token));
  const from = begin < 0 ? all.length : begin;
  const rest = articles.test(all[from] ?? "") && from + 1 < all.length ? all.slice(from + 1) : all.slice(from);
  const end = rest.findLastIndex((token) => !/^[.;!?,]$/.test(token));
  return end < 0 ? rest : rest.slice(0, end + 1);
}

/**
 * The index of the choice that the text consists of ("whole"), or that it begins with before a mark or a "because" ("head"); the
 * longest, if several do. Case, white space, a leading article and thousands separators do not matter. undefined if none, or two equal ones.
 */
export function choiceOf(text: string, choices: readonly string[], how: "whole" | "head" = "head"): number | undefined {
  const wanted = choices.map((choice) => core([...tokens(choice)]));
  // An article before; marks behind.
  const enough = Math.max(0, ...wanted.map(({ length }) => length)) + 8;
  const head: string[] = [];
  for (const token of tokens(text)) {
    if (head.length === enough) break;
    if (head.length > 0 || !marks.test(token)) head.push(token);
  }
  const begin = articles.test(head[0] ?? "") && head.length > 1 ? 1 : 0;
  const fits = wanted.flatMap((choice, index) => {
    const isHere = choice.length > 0 && choice.every((token, i) => head[begin + i] === token);
    return isHere && isEnd(head.slice(begin + choice.length), how) ? [{ index, length: choice.length }] : [];
  });
  const most = Math.max(0, ...fits.map(({ length }) => length));
  const best = fits.filter(({ length }) => length === most);
  return best.length === 1 ? best[0]!.index : undefined;
}

/** Whether a choice is all of what is said when this comes behind it; a comma alone may go on with another choice. */
function isEnd(rest: readonly string[], how: "whole" | "head"): boolean {
  if (rest.every((token) => ends.test(token))) return true;
  if (how === "whole") return false;
  const [first = "", second = ""] = rest;
  return reasons.test(first) || (first === "," ? reasons.test(second) : ends.test(first));
}
