/** How LLM-Adapters' evaluation scripts read answers. */

/** The last number of the text, thousands separators removed ("1,234" is 1234); "" if there is none. evaluate.py, extract_answer_number. */
export function lastNumber(response: string): string {
  const found = response.replaceAll(",", "").match(/-?\d+\.?\d*/g);
  return found?.at(-1) ?? "";
}

/** Numbers within 0.001 of each other, as the paper counts them. */
export function equalNumbers(extracted: string, target: string): boolean {
  if (extracted === "") return false;
  return Math.abs(Number(extracted) - Number(target)) <= 1e-3;
}

/** The first of the words in the text, "" if there is none. commonsense_evaluate.py, extract_answer. */
export function firstOf(words: readonly string[]): (response: string) => string {
  const pattern = new RegExp(words.join("|"));
  return (response) => pattern.exec(response.trim())?.[0] ?? "";
}

export const equalText = (extracted: string, target: string): boolean => extracted === target;
