/** How LLM-Adapters' evaluate.py and commonsense_evaluate.py read answers, bug for bug. */
import { withAsciiDigits } from "./_digits.ts";

/** Their text: between the first "### Response:", which ends the prompt, and the next. */
const ownText = (response: string): string => response.split("### Response:", 1)[0]!;

/**
 * The last number of the text, every comma removed ("1,234" and "1, 234" are 1234); "" if there is none. A hyphen before a digit is a
 * sign ("10-4" is -4), a full stop behind one belongs to it ("5." as Python's float reads it), digits of other scripts count and
 * come back as 0 to 9. extract_answer_number.
 */
export function lastNumber(response: string): string {
  const found = ownText(response)
    .replaceAll(",", "")
    .match(/-?\p{Nd}+\.?\p{Nd}*/gu);
  return withAsciiDigits(found?.at(-1) ?? "");
}

/** |extracted - target| <= 0.001. False where either is "": their "no number" is infinity. */
export function equalNumbers(extracted: string, target: string): boolean {
  if (extracted === "" || target.trim() === "") return false;
  return Math.abs(Number(target) - Number(extracted)) <= 1e-3;
}

/** The first of the words in the text, wherever it stands ("untrue" holds true, "answer12" answer1); "" if there is none. extract_answer. */
export function firstOf(words: readonly string[]): (response: string) => string {
  const pattern = new RegExp(words.join("|"));
  return (response) => pattern.exec(ownText(response))?.[0] ?? "";
}

/** The first capital from A to E in the text, wherever it stands ("Each" is E); "" if there is none. extract_answer_letter. */
export const firstLetter = firstOf(["A", "B", "C", "D", "E"]);
