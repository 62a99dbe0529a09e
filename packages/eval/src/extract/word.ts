/** The word out of a few ("true", "answer2") that a response gives as its answer. */
import { choiceOf } from "./_choice.ts";
import { plainText } from "./_plain-text.ts";
import { afterBut, sentenceEnd, type Statement, statementFinder } from "./_statement.ts";

interface Mention {
  readonly label: string;
  readonly start: number;
  readonly end: number;
}

/** How a set of labels stands in texts. */
interface Vocabulary {
  readonly labels: readonly string[];
  /** true and false: where "not" turns one into the other and "yes" is another word for one. */
  readonly isTruth: boolean;
  mentions(text: string): Mention[];
  /** The label with a number of its own: "answer2" of "2". */
  numbered(digits: string): string | undefined;
}

const statements = statementFinder([
  "answer",
  "solution",
  "ending",
  "option",
  "choice",
  "completion",
  "response",
  "one",
]);

const filler = String.raw`(?:[\s"'“”‘’*_:=([{$~-]|\\[a-z]{1,10}\{|(?:the|that|this|it|is|its|it['’]s|simply|clearly|definitely|probably|most\slikely|likely|therefore|thus|indeed|either|both|statement|option|number|no\.)(?!\p{L}))*`;
const opening = new RegExp(filler, "iuy");
const turned =
  /(?:(?<!\p{L})(?:not|cannot|never)|n['’]t)\s(?:(?:be|really|actually|in\sfact|exactly|at\sall)\s)*["'(]*$/iu;
const denied =
  /(?:(?<!\p{L})(?:not|cannot|never|neither|nor|no|rather\sthan|instead\sof|except|unlike|than|hardly|whether)|n['’]t)\s(?:(?:be|the|a|an|it\sis|this\sis|necessarily|always|entirely|really|actually|option|choice|answer)\s)*["'(]*$/iu;
const isWrong =
  /^["')*\]]*\s?(?:(?:is|are|was|seems|would\sbe|can\sbe|cannot\sbe)\s?)?(?:not|n['’]t|wrong|incorrect|untrue|unlikely|impossible|(?<=\s)false)(?!\p{L})/iu;
const isRight =
  /^["')*\]]*\s(?:is|must\sbe|would\sbe|seems)\s(?:therefore\s|thus\s|clearly\s)?(?:the\s)?(?:most\s)?(?:correct|right|best|answer|likely)(?!\p{L})/iu;
const link = /^["')*\]]*\s?(?:,?\s?(?:or|and)(?!\p{L})|[/|&])\s?["'(*[]*$/iu;
const pauses = /^\s*(?:$|[.,;:!?)"'’”\]}*\n]|because(?!\p{L})|since(?!\p{L})|as(?!\p{L}))/iu;

/**
 * The stated label; "" if none or several are. The last "the correct answer is X", "Answer: X", "\boxed{X}" counts: X a label in any
 * case and spacing ("Answer 2", "(ending3)"), its number alone, a choice's text, yes or no for true or false. Without a statement: the
 * whole text a choice, "X is correct", or the only label that is mentioned and not denied. "not true" is false and the reverse;
 * of other words "not X" takes X out. Lists of all answers and "X or Y" state nothing. Linear in the text.
 */
export function statedWord(response: string, labels: readonly string[], choices: readonly string[] = []): string {
  const text = plainText(response);
  const vocabulary = vocabularyOf(labels);
  const mentions = vocabulary.mentions(text);
  const listed = listedOf(text, mentions, labels);
  for (const statement of statements(text).toReversed()) {
    const stated = wordOf(text, statement, vocabulary, choices, listed);
    if (stated !== undefined) return stated;
  }
  const whole = choiceOf(text, choices, "whole");
  if (whole !== undefined) return labels[whole] ?? "";
  const open = mentions.filter((mention, i) => !listed.has(mention.start) && !isLinked(text, mentions, i));
  return unsaid(text, open, vocabulary);
}

function vocabularyOf(labels: readonly string[]): Vocabulary {
  const parts = labels.map((label) => /^(\p{L}+)(\d+)$/u.exec(label));
  const stems = new Set(parts.map((part) => part?.[1]?.toLowerCase()));
  const [stem] = stems;
  const byNumber = new Map(parts.map((part, i) => [part?.[2], labels[i]!]));
  const isNumbered = stem !== undefined && stems.size === 1;
  const byText = new Map(labels.map((label) => [label.toLowerCase(), label]));
  const escaped = labels
    .toSorted((a, b) => b.length - a.length)
    .map((label) => label.replaceAll(/[^\p{L}\p{N}\s]/gu, String.raw`\$&`));
  const pattern = isNumbered
    ? new RegExp(String.raw`(?<![\p{L}\p{N}])${stem}[\s_#-]{0,3}\(?(?<number>\d{1,4})(?![\p{L}\p{N}]|[.,]\d)`, "giu")
    : new RegExp(String.raw`(?<![\p{L}\p{N}]|(?<=\p{L})-)(?<word>${escaped.join("|")})(?![\p{L}\p{N}]|-\p{L})`, "giu");
  return {
    labels,
    isTruth: labels.length === 2 && byText.has("true") && byText.has("false"),
    numbered: (digits) => (isNumbered ? byNumber.get(digits) : undefined),
    mentions: (text) =>
      [...text.matchAll(pattern)].flatMap(({ index, 0: found, groups }) => {
        const label = isNumbered ? byNumber.get(groups!.number) : byText.get(groups!.word!.toLowerCase());
        return label === undefined ? [] : [{ label, start: index, end: index + found.length }];
      }),
  };
}

/** Of one statement: a label, "" for several or contradicting ones, undefined if it states none. */
function wordOf(
  whole: string,
  statement: Statement,
  vocabulary: Vocabulary,
  choices: readonly string[],
  listed: ReadonlySet<number>,
): string | undefined {
  const { kind, to, isNegated } = statement;
  const text = whole.slice(0, to);
  const { isTruth, labels } = vocabulary;
  // An answer may itself begin with "not".
  const denial = isNegated ? choiceOf(text.slice(statement.from), choices) : undefined;
  if (denial !== undefined) return labels[denial];
  const isTurned = isNegated && isTruth;
  const from = isNegated ? (isTurned ? afterNot(text, statement.from) : afterBut(text, statement)) : statement.from;
  if (from === undefined) return undefined;
  opening.lastIndex = from;
  const begin = from + (opening.exec(text)?.[0].length ?? 0);
  const body = text.slice(from);
  const mentions = vocabulary
    .mentions(body)
    .map(({ label, start, end }) => ({ label, start: from + start, end: from + end }));
  const direct = mentions.find(({ start, end }) => start <= begin && end > from && begin < end);
  const isList = direct && listed.has(direct.start) && /[:=]\s*$/.test(text.slice(Math.max(0, from - 5), from));
  if (direct && !isList) {
    if (isLinked(text, mentions, mentions.indexOf(direct))) return "";
    return isTurned ? (labels.find((label) => label !== direct.label) ?? "") : direct.label;
  }
  if (isTurned) return undefined;
  const named = otherNameOf(text, from, begin, vocabulary, choices);
  if (named !== undefined) return named;
  if (kind === "hashes" || kind === "correction" || isList) return undefined;
  const end = kind === "boxed" ? to : sentenceEnd(text, from, to);
  const open = mentions.filter((mention, i) => mention.start < end && !isLinked(text, mentions, i));
  return unsaid(text.slice(0, end), open, vocabulary, from) || undefined;
}

/** A choice's text from `from` on, or a label's number, yes or no from `begin` on; "" where a number is one choice's text and another one's label. */
function otherNameOf(
  text: string,
  from: number,
  begin: number,
  { isTruth, labels, numbered }: Vocabulary,
  choices: readonly string[],
): string | undefined {
  const chosen = choiceOf(text.slice(from), choices);
  const short = text.slice(begin, begin + 20);
  const digits = /^\d{1,4}(?=\s*(?:$|[.,;:!?)"'’”\]}*\n]))(?![.,]\d)/.exec(short)?.[0];
  const byNumber = digits === undefined ? undefined : numbered(digits);
  const isNumber = chosen !== undefined && /^\W*\d+\W*$/.test(choices[chosen]!);
  if (isNumber && byNumber !== undefined && labels[chosen] !== byNumber) return "";
  if (chosen !== undefined) return labels[chosen];
  if (byNumber !== undefined) return byNumber;
  const word = isTruth ? /^(?:yes|no)(?!\p{L})/iu.exec(short)?.[0] : undefined;
  return word && pauses.test(short.slice(word.length)) ? truth(word, labels) : undefined;
}

const afterNot = (text: string, from: number): number =>
  from + (/^\s*(?:not|never)/i.exec(text.slice(from, from + 20))?.[0].length ?? 0);

const truth = (word: string, labels: readonly string[]): string =>
  labels.find((label) => label.toLowerCase() === (/^yes$/i.test(word) ? "true" : "false")) ?? "";

/** The label of a text without a statement: one that is called right, else the only one that is left when denied ones are gone. */
function unsaid(text: string, mentions: readonly Mention[], { isTruth, labels }: Vocabulary, from = 0): string {
  const left = mentions.flatMap(({ label, start, end }) => {
    const before = text.slice(Math.max(from, start - 50), start);
    const behind = text.slice(end, end + 50);
    if (isTruth) {
      if (!pauses.test(behind)) return [];
      if (turned.test(before)) return [{ label: labels.find((other) => other !== label)!, behind }];
    }
    return denied.test(before) || isWrong.test(behind) ? [] : [{ label, behind }];
  });
  const answers = new Set(left.map(({ label }) => label));
  if (isTruth && from === 0) {
    const word = /^\W{0,10}(yes|no)(?=\s*(?:$|[,.!;:\n-]))/i.exec(text)?.[1];
    if (word) answers.add(truth(word, labels));
  }
  if (answers.size === 1) return [...answers][0]!;
  return isTruth ? "" : (left.findLast(({ behind }) => isRight.test(behind))?.label ?? "");
}

/** "answer1 or answer2", "true/false": two different labels with nothing but a link between them. */
function isLinked(text: string, mentions: readonly Mention[], at: number): boolean {
  const areLinked = (a: Mention | undefined, b: Mention | undefined): boolean =>
    a !== undefined &&
    b !== undefined &&
    a.label !== b.label &&
    b.start - a.end <= 20 &&
    link.test(text.slice(a.end, b.start));
  return areLinked(mentions[at - 1], mentions[at]) || areLinked(mentions[at], mentions[at + 1]);
}

/** Where the labels of a list of all answers stand: at least two in their order from the first, each with a colon behind. */
function listedOf(text: string, mentions: readonly Mention[], labels: readonly string[]): ReadonlySet<number> {
  const listed = new Set<number>();
  let run: Mention[] = [];
  const close = (): void => {
    if (run.length >= 2) for (const { start } of run) listed.add(start);
    run = [];
  };
  for (const mention of mentions) {
    if (!/^["')*\]]*\s?:/.test(text.slice(mention.end, mention.end + 10))) continue;
    if (mention.label !== labels[run.length]) close();
    if (mention.label === labels[run.length]) run.push(mention);
  }
  close();
  return listed;
}
