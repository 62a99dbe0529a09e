/** The option, one of a few letters, that a response gives as its answer. */
import { choiceOf } from "./_choice.ts";
import { equalFixed } from "./equal.ts";
import { plainText } from "./_plain-text.ts";
import { plainNotation, quantities } from "./_quantity.ts";
import { afterBut, sentenceEnd, type Statement, statementFinder } from "./_statement.ts";

const statements = statementFinder(["option", "choice", "letter", "alternative", "one"]);

const filler = String.raw`(?:[\s"'“”‘’*_:=([{$|~-]|\\[a-z]{1,10}\{|(?:the|simply|clearly|definitely|probably|most\slikely|therefore|thus|indeed|either|both|option|choice|letter|answer|alternative)(?!\p{L}))*`;
const denied =
  /(?:(?<!\p{L})(?:not|never|neither|nor|eliminate|exclude|reject|rule\sout|except|than|of)|n['’]t)\s(?:the\s)?(?:option\s|choice\s|answer\s)?["'(]*$/iu;
const isWrong =
  /^[)\]"'.*]*\s(?:(?:(?:is|are|was|seems|must\sbe|would\sbe)\s)?(?:wrong|incorrect|eliminated|excluded|ruled\sout)|(?:is|are|was|seems)\s(?:not|false|too|impossible|out)|(?:cannot|can['’]t)\sbe\s(?:right|correct|true|it|the)|(?:is|was|are)n['’]t)(?!\p{L})/iu;

interface Mention {
  readonly label: string;
  readonly start: number;
  readonly end: number;
}

/**
 * The stated label; "" if there is none or several ("A or B"). The last "the answer is (B)", "Answer: B) 12", "\boxed{B}" counts,
 * a choice's text or number in its place being as good as its letter; then the last "B is correct", "so B" at the end, or line that
 * begins with "B)"; then "option B" or "(B)" where no other one is mentioned. Denied letters ("not (A)", "A is wrong"), letters of a list
 * of all options and capitals that begin a word, "A" before one included, state nothing. Linear in the text.
 */
export function statedOption(response: string, labels: readonly string[], choices: readonly string[]): string {
  const text = plainText(response);
  const any = `(?:${labels.map((label) => label.replaceAll(/[^\p{L}\p{N}]/gu, String.raw`\$&`)).join("|")})`;
  const listed = listedAt(text, labels, any);
  const read = reader(labels, choices, any);
  for (const statement of statements(text).toReversed()) {
    const stated = read(text, statement, listed);
    if (stated !== undefined) return stated;
  }
  const whole = choiceOf(text, choices, "whole");
  if (whole !== undefined) return labels[whole] ?? "";
  const { declared, mentioned } = mentionsOf(text, any);
  const isOpen = ({ start, end }: Mention): boolean =>
    !listed.has(start) &&
    !denied.test(text.slice(Math.max(0, start - 40), start)) &&
    !isWrong.test(text.slice(end, end + 40));
  const other = alternative(any);
  const last = declared.findLast(
    (mention) => isOpen(mention) && !other.test(text.slice(mention.end, mention.end + 60)),
  );
  if (last) return last.label;
  const left = new Set(mentioned.filter(isOpen).map(({ label }) => label));
  return left.size === 1 ? [...left][0]! : "";
}

/** Reads one statement: a label, "" for several, undefined if it states none. */
function reader(labels: readonly string[], choices: readonly string[], any: string) {
  // A letter that no word goes on from: no "A.M.", "E-mail", "B's".
  const label = new RegExp(
    String.raw`(?<before>${filler})(?<label>${any})(?![\p{L}\p{N}_]|['’]\p{L}|-\p{L}|\.\p{L}\.)`,
    "iuy",
  );
  const other = alternative(any);
  return (whole: string, statement: Statement, listed: ReadonlySet<number>): string | undefined => {
    const text = whole.slice(0, statement.to);
    // An answer may itself begin with "not".
    const denial = statement.isNegated ? choiceAt(text.slice(statement.from), labels, choices) : undefined;
    if (denial !== undefined) return denial;
    const from = statement.isNegated ? afterBut(text, statement) : statement.from;
    if (from === undefined) return undefined;
    label.lastIndex = from;
    const { before = "", label: found } = label.exec(text)?.groups ?? {};
    if (found !== undefined) {
      const start = from + before.length;
      const behind = text.slice(start + found.length, start + found.length + 60);
      const isList = listed.has(start) && /[:=]\s*$/.test(text.slice(Math.max(0, from - 5), from));
      if (!isList && isLetter(found, before, behind)) return other.test(behind) ? "" : canonical(found, labels);
    }
    if (statement.kind === "hashes" || statement.kind === "correction") return undefined;
    return choiceAt(text.slice(from), labels, choices) ?? numberAt(text.slice(from), labels, choices);
  };
}

/** "or B", "and (B)", ", B or C" behind a label. */
const alternative = (any: string): RegExp =>
  new RegExp(
    String.raw`^[)\]}"'*]*\s?(?:,?\s?(?:or|and|/|&)|,(?=\s?\(?${any}\)?\s?(?:,|or(?!\p{L})|and(?!\p{L})|$)))\s?(?:option\s|choice\s)?\(?${any}(?![\p{L}\p{N}])`,
    "iu",
  );

const canonical = (found: string, labels: readonly string[]): string =>
  labels.find((label) => label === found) ?? labels.find((label) => label.toLowerCase() === found.toLowerCase()) ?? "";

/** Whether a letter behind a statement is a label: no article, no variable. In lower case it needs a bracket, "option" or an end behind it. */
function isLetter(found: string, before: string, behind: string): boolean {
  if (/(?:\(|\[|\{|(?:option|choice|letter|alternative)\s?)$/i.test(before) || /^\s?[)\]}]/.test(behind)) return true;
  if (/^\s*(?:$|[.,;:!?\n*"'’”|])/.test(behind)) return true;
  if (found !== found.toUpperCase() || /^\s?[=+*/^<>]/.test(behind)) return false;
  return found !== "A" || /^\s+(?:because|since|as|which|or|and|with|\d|[$€£₹(-])/.test(behind);
}

function choiceAt(text: string, labels: readonly string[], choices: readonly string[]): string | undefined {
  const index = choiceOf(text, choices);
  return index === undefined ? undefined : labels[index];
}

/** The one label whose choice has the number that the text begins with. */
function numberAt(text: string, labels: readonly string[], choices: readonly string[]): string | undefined {
  const sentence = plainNotation(text.slice(0, sentenceEnd(text, 0, text.length)));
  const [first, second] = quantities(sentence);
  if (
    !first ||
    second ||
    !/^[\s"'“”‘’([{:=~≈$€£¥₹*-]*(?:(?:about|approximately|x\s?=)\s)?[$€£¥₹-]*$/.test(sentence.slice(0, first.start))
  )
    return undefined;
  const fits = labels.filter((_, i) => {
    const [only, more] = quantities(plainNotation(choices[i] ?? ""));
    return only && !more && equalFixed(only.value, first.value);
  });
  return fits.length === 1 ? fits[0] : undefined;
}

/** Where the letters of lists of all options stand: at least three, or all, in their order from the first, each before its text. */
function listedAt(text: string, labels: readonly string[], any: string): ReadonlySet<number> {
  const marker = new RegExp(
    String.raw`(?<![\p{L}\p{N}])(?<label>${any})\s?(?<mark>[).:\]])\s{0,3}(?=[^\s.,;:!?)\]]|\.\d)`,
    "giu",
  );
  const listed = new Set<number>();
  let run: { start: number; mark: string }[] = [];
  const close = (): void => {
    if (run.length >= Math.min(3, labels.length)) for (const { start } of run) listed.add(start);
    run = [];
  };
  for (const { index, groups } of text.matchAll(marker)) {
    const at = labels.indexOf(canonical(groups!.label!, labels));
    const mark = groups!.mark!;
    if (at !== run.length || (run[0] && run[0].mark !== mark)) close();
    if (at === run.length) run.push({ start: index, mark });
  }
  close();
  return listed;
}

/** Letters that are called right or concluded with, and letters that are named as options; only capitals. */
function mentionsOf(text: string, any: string): { declared: Mention[]; mentioned: Mention[] } {
  const end = String.raw`(?![\p{L}\p{N}_]|['’]\p{L}|-\p{L}|\.\p{L}\.)`;
  const find = (pattern: string): Mention[] =>
    [...text.matchAll(new RegExp(pattern, "gdu"))].map(({ groups, indices }) => {
      const [start, stop] = indices!.groups!.label!;
      return { label: groups!.label!, start, end: stop };
    });
  const label = `(?<label>${any})${end}`;
  const declared = [
    String.raw`(?<![\p{L}\p{N}])${label}\)?\s(?:is|must\sbe|would\sbe)\s(?:therefore\s|thus\s)?(?:the\s)?(?:correct|right|answer|best|true)(?!\p{L})`,
    String.raw`(?:^|\n)[ \t]*[(\[]?${label}(?:[ \t]?[)\]:]|\.(?=\s|$)|(?=[ \t]*(?:\n|$)))`,
    String.raw`(?<!\p{L})(?:[Ss]o|[Hh]ence|[Tt]hus|[Tt]herefore|[Cc]hoose|[Pp]ick|[Ss]elect|[Gg]o\swith|[Ii]t\sis|[Ii]t['’]s)[,:]?\s(?:option\s|choice\s|answer\s)?\(?${label}\)?(?=[.!]?\s*$)`,
  ].flatMap(find);
  const mentioned = [
    String.raw`(?<!\p{L})(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Aa]lternative)\s?\(?${label}`,
    // P (A) = 0.2 is a function's.
    String.raw`(?<![\p{L}\p{N}]|(?<!\p{L})\p{L}\s)\(${label}\)(?!\s?[=+*/^<>])`,
  ].flatMap(find);
  return { declared: declared.sort((a, b) => a.start - b.start), mentioned };
}
