/** The number that a response gives as its answer. */
import { numberPhrases } from "./_number-words.ts";
import { plainText } from "./_plain-text.ts";
import { decimalText, plainNotation, quantities, type Quantity } from "./_quantity.ts";
import { afterBut, sentenceEnd, type Statement, statementFinder } from "./_statement.ts";

const statements = statementFinder(["number", "result", "total", "value", "amount", "count"]);

/** What may stand between "is" and the number. */
const filler =
  /(?:[\s"'“”‘’([{:=~≈≅<>|$€£¥₹*_-]|\\[a-z]{1,8}\{|(?:about|approximately|approx\.?|around|roughly|nearly|almost|exactly|just|only|simply|now|also|still|then|thus|therefore|equal to|equals|a total of|at least|at most|negative|minus)(?!\p{L})|[a-z]\s?=)*/iuy;
/** A number right behind these is a step of the way. */
const derivation =
  /(?<!\p{L})(?:(?:found|obtained|calculated|computed|given|derived|got(?:ten)?|determined)\s(?:by|from|as|when|using)|the\s(?:sum|product|difference|quotient|ratio)\s(?:of|between))(?!\p{L})/iu;
const nothing =
  /^[\s"'(:]*(?:unknown|undefined|undetermined|indeterminate|not\s(?:known|given|possible|enough|clear|defined)|impossible|cannot|can['’]?t|none|no\s(?:solution|answer|number))(?!\p{L})/iu;

/**
 * The stated number as canonical decimal text ("1234.5", "-3", "0.75"); "" if there is none. The last "the answer is", "Answer:",
 * "#### ", "\boxed{}" with a number counts: there the first number, or the result where a calculation goes on from it ("3 * 6 = 18",
 * "18 eggs, 2 left" is 18). Without a statement the last number of the text counts, then the last number word other than "one".
 * Percent signs and units are not read: 50% is 50. Linear in the text.
 */
export function statedNumber(response: string): string {
  const text = plainNotation(plainText(response));
  for (const statement of statements(text).toReversed()) {
    const stated = numberOf(text, statement);
    if (stated !== undefined) return stated;
  }
  return lastOf(quantities(text))?.value ?? lastWord(text);
}

/** Of one statement: "" if it says that there is no one number, undefined if it says none. */
function numberOf(whole: string, statement: Statement): string | undefined {
  const { kind, to, isNegated } = statement;
  const text = whole.slice(0, to);
  const from = isNegated ? afterBut(text, statement) : statement.from;
  if (from === undefined) return nothing.test(text.slice(statement.from)) ? "" : undefined;
  filler.lastIndex = from;
  const begin = from + (filler.exec(text)?.[0].length ?? 0);
  const first = quantities(text, from).next().value;
  if (first?.start === begin) return settled(text, first);
  const phrase = numberPhrases(text.slice(from)).at(0);
  if (phrase && from + phrase.start <= begin && from + phrase.end > begin) return decimalText(phrase.value);
  if (kind === "hashes" || kind === "correction") return undefined;
  const part = text.slice(0, kind === "boxed" ? to : sentenceEnd(text, from, to));
  if (nothing.test(part.slice(from))) return "";
  if (kind === "boxed" || derivation.test(part.slice(from))) return lastOf(quantities(part, from))?.value;
  return first && first.start < part.length ? settled(part, first) : undefined;
}

/**
 * The number, or its calculation's result. Of "X, or Y" the latter, which says the same again; of "3 + 4, which is 7" what the sentence
 * ends with; "" of alternatives, ranges and calculations without a result ("2 or 3", "10-12", "4 * 5").
 */
function settled(text: string, first: Quantity): string {
  const { result, openEnd } = resultFrom(text, first);
  const sentence = text.slice(0, sentenceEnd(text, openEnd ?? result.end, text.length));
  if (openEnd !== undefined) return lastOf(quantities(sentence, openEnd))?.value ?? "";
  const again = /,\sor\s/.exec(sentence.slice(result.end));
  const other = again && quantities(sentence, result.end + again.index + again[0].length).next().value;
  return (other ? resultFrom(sentence, other).result : result).value;
}

const unit = String.raw`(?:\s{0,3}(?:[a-z]{1,20}(?![a-z])\.?|[%°$€£¥₹²³"'])){0,4}`;
const opening = String.raw`[\s([{$€£¥₹-]{0,6}(?:[a-z]\s?=\s?)?`;
const equality = new RegExp(
  String.raw`^\s?[)\]]{0,3}${unit}[\s)\]}]{0,4}(?:=|≈|≅|~|(?<=\s)(?:equals|is\sequal\sto))${opening}$`,
  "iu",
);
const operator = new RegExp(String.raw`^\s?[)\]]{0,3}${unit}[\s)\]}]{0,4}(?:[-+*/x]|(?<![a-z])of)${opening}$`, "iu");
const alternative = /^\s?(?:to|or)\s?[$€£¥₹]?$/i;

/**
 * Follows a calculation from its first number to what stands behind its last "=". openEnd: where it ends, if it goes on without a
 * result ("4 * 5") or the number has an alternative.
 */
function resultFrom(text: string, first: Quantity): { result: Quantity; openEnd?: number } {
  let [result, last, openEnd] = [first, first, undefined as number | undefined];
  for (const next of quantities(text, first.end)) {
    const by = next.start - last.end > 100 ? "" : text.slice(last.end, next.start);
    const isResult = equality.test(by);
    if (!isResult && !operator.test(by) && !alternative.test(by)) break;
    if (isResult) result = next;
    // "18 eggs - 2 left" has a dash: only what stands bare between two numbers leaves them open.
    openEnd =
      !isResult && (openEnd !== undefined || /^\s?(?:[-+*/x]|to|or)\s?[$€£¥₹]?$/i.test(by)) ? next.end : undefined;
    last = next;
  }
  return openEnd === undefined ? { result } : { result, openEnd };
}

function lastOf<T>(all: Iterable<T>): T | undefined {
  let last: T | undefined;
  for (const item of all) last = item;
  return last;
}

/** "one" is mostly a pronoun, so that it counts alone only. */
function lastWord(text: string): string {
  const isAlone = /^\W*one\W*$/i.test(text);
  const phrase = numberPhrases(text).findLast(({ value, start, end }) => isAlone || value !== 1 || end - start > 3);
  return (phrase && decimalText(phrase.value)) ?? "";
}
