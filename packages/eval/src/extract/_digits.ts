/** Digits of all scripts, as Python's `\d` and `float` know them. */

const isDigit = (code: number): boolean => /^\p{Nd}$/u.test(String.fromCodePoint(code));

/** Decimal digits are encoded in runs of ten that begin with zero; adjacent runs follow each other without a gap. */
function digitValue(digit: string): number {
  const code = digit.codePointAt(0) ?? 0;
  let first = code;
  while (isDigit(first - 1)) first--;
  return (code - first) % 10;
}

/** The text with every decimal digit (category Nd) as one of 0 to 9. */
export const withAsciiDigits = (text: string): string =>
  text.replaceAll(/(?![0-9])\p{Nd}/gu, (digit) => String(digitValue(digit)));
