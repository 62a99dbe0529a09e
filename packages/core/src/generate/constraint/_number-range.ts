/** Decimal texts of the numbers between two bounds. */
import { alt, byteRange, EMPTY, literal, NEVER, type Node, optional, repeat, seq } from "./_grammar.ts";
import { anyInteger, anyNumber } from "./_json-text.ts";

export interface Bound {
  readonly value: number;
  /** The bound itself is outside. */
  readonly isOpen: boolean;
}

/** A double keeps decimals of this many digits apart, and in order. */
const EXACT_DIGITS = 15;

const digit = byteRange(0x30, 0x39);

/** Numbers from lower to upper. Those with a bound have no exponent, and where the other bound is missing no more than 15 digits, or one more than the bound has. */
export function numberRange(lower: Bound | undefined, upper: Bound | undefined, isInteger: boolean): Node {
  if (!lower && !upper) return isInteger ? anyInteger : anyNumber;
  const far = farBeyond(lower?.value ?? 0, upper?.value ?? 0);
  const [lo, hi] = [lower ?? { value: -far, isOpen: false }, upper ?? { value: far, isOpen: false }];
  if (isInteger) {
    const [first, last] = [firstInteger(lo), -firstInteger({ ...hi, value: -hi.value })];
    return first > last ? NEVER : integers(first, last);
  }
  if (lo.value > hi.value) return NEVER;
  // Zero belongs to the side without a sign; "-0" is left out.
  const positive = hi.value < 0 ? NEVER : decimals(lo.value < 0 ? { value: 0, isOpen: false } : lo, hi);
  if (lo.value >= 0) return positive;
  const zero = { value: 0, isOpen: true };
  const negative = decimals(hi.value < 0 ? { ...hi, value: -hi.value } : zero, { ...lo, value: -lo.value });
  return alt(positive, seq(literal("-"), negative));
}

function farBeyond(...values: readonly number[]): number {
  const digits = Math.max(EXACT_DIGITS, ...values.map((value) => plain(value).whole.length + 1));
  return Math.min(Number.MAX_VALUE, Number(`1e${digits}`));
}

function firstInteger({ value, isOpen }: Bound): bigint {
  const first = BigInt(Math.ceil(value));
  return isOpen && Number.isInteger(value) ? first + 1n : first;
}

function integers(first: bigint, last: bigint): Node {
  const negative = first < 0n ? seq(literal("-"), naturals(last < 0n ? -last : 1n, -first)) : NEVER;
  return alt(last < 0n ? NEVER : naturals(first < 0n ? 0n : first, last), negative);
}

/** first..last, none negative. */
function naturals(first: bigint, last: bigint): Node {
  if (first > last) return NEVER;
  const [a, b] = [String(first), String(last)];
  if (a.length === b.length) return between(a, b);
  const middle = seq(byteRange(0x31, 0x39), repeat(digit, a.length, b.length - 2));
  return alt(
    between(a, "9".repeat(a.length)),
    a.length <= b.length - 2 ? middle : NEVER,
    between(`1${"0".repeat(b.length - 1)}`, b),
  );
}

/** Digits of the same number from a to b, of equal length. */
function between(a: string, b: string): Node {
  if (a === "") return EMPTY;
  const rest = a.length - 1;
  // Without this the number of parts would double with each digit.
  if (/^0*$/.test(a) && /^9*$/.test(b)) return repeat(digit, a.length, a.length);
  if (a[0] === b[0]) return seq(literal(a[0]!), between(a.slice(1), b.slice(1)));
  return alt(
    seq(literal(a[0]!), between(a.slice(1), "9".repeat(rest))),
    seq(digits(Number(a[0]) + 1, Number(b[0]) - 1), repeat(digit, rest, rest)),
    seq(literal(b[0]!), between("0".repeat(rest), b.slice(1))),
  );
}

/** Numbers from lo to hi without sign, both at least 0. */
function decimals(lo: Bound, hi: Bound): Node {
  const [a, b] = [plain(lo.value), plain(hi.value)];
  if (lo.value > hi.value || (lo.value === hi.value && (lo.isOpen || hi.isOpen))) return NEVER;
  const longest = Math.max(a.fraction.length, b.fraction.length);
  // Beside an open bound a longer decimal could be rounded to the bound itself. Other bounds are never crossed by rounding.
  const placesAt = (isOpen: boolean, { whole }: { readonly whole: string }): number =>
    Math.max(longest, EXACT_DIGITS - (isOpen ? whole.length : 0));
  const mayBeWhole = a.fraction === "" && !lo.isOpen;
  if (a.whole === b.whole) {
    const places = placesAt(lo.isOpen || hi.isOpen, b);
    return seq(literal(a.whole), point(insideOf(a.fraction, b.fraction, lo.isOpen, hi.isOpen, places), mayBeWhole));
  }
  const places = placesAt(hi.isOpen, b);
  const anyFraction = places === 0 ? EMPTY : point(repeat(digit, 1, places), true);
  return alt(
    seq(literal(a.whole), point(atLeast(a.fraction, lo.isOpen, placesAt(lo.isOpen, a)), mayBeWhole)),
    seq(naturals(BigInt(a.whole) + 1n, BigInt(b.whole) - 1n), anyFraction),
    seq(literal(b.whole), point(atMost(b.fraction, hi.isOpen, places), b.fraction !== "" || !hi.isOpen)),
  );
}

/** A fraction behind its point, or (`mayMiss`) none. */
function point(fraction: Node, mayMiss: boolean): Node {
  const some = fraction === EMPTY ? NEVER : seq(literal("."), fraction);
  return mayMiss ? optional(some) : some;
}

/** Digits of fractions, at least one and at most `places`, that are `bound` or more (`isOpen`: more). */
function atLeast(bound: string, isOpen: boolean, places: number): Node {
  if (places === 0) return NEVER;
  if (bound === "") return isOpen ? someNonZero(places) : repeat(digit, 1, places);
  const d = Number(bound[0]);
  const rest = bound.slice(1);
  return alt(
    seq(digits(d + 1, 9), repeat(digit, 0, places - 1)),
    // Where the digits end here, those that the bound goes on with are missing: never zeros alone.
    seq(literal(bound[0]!), rest === "" && !isOpen ? repeat(digit, 0, places - 1) : atLeast(rest, isOpen, places - 1)),
  );
}

function atMost(bound: string, isOpen: boolean, places: number): Node {
  if (places === 0) return NEVER;
  if (bound === "") return isOpen ? NEVER : repeat(literal("0"), 1, places);
  const d = Number(bound[0]);
  const rest = bound.slice(1);
  const mayEnd = rest !== "" || !isOpen;
  return alt(
    seq(digits(0, d - 1), repeat(digit, 0, places - 1)),
    seq(literal(bound[0]!), alt(mayEnd ? EMPTY : NEVER, atMost(rest, isOpen, places - 1))),
  );
}

/** Fractions from `a` to `b` of the same whole number. */
function insideOf(a: string, b: string, isLowOpen: boolean, isHighOpen: boolean, places: number): Node {
  if (places === 0) return NEVER;
  if (a === "" && b === "") return isLowOpen || isHighOpen ? NEVER : repeat(literal("0"), 1, places);
  const [x, y] = [Number(a[0] ?? 0), Number(b[0] ?? 0)];
  const [restA, restB] = [a.slice(1), b.slice(1)];
  const mayEndLow = restA === "" && !isLowOpen;
  const mayEndHigh = restB !== "" || !isHighOpen;
  if (x === y)
    return seq(
      literal(String(x)),
      alt(mayEndLow && mayEndHigh ? EMPTY : NEVER, insideOf(restA, restB, isLowOpen, isHighOpen, places - 1)),
    );
  return alt(
    seq(literal(String(x)), alt(mayEndLow ? EMPTY : NEVER, atLeast(restA, isLowOpen, places - 1))),
    seq(digits(x + 1, y - 1), repeat(digit, 0, places - 1)),
    seq(literal(String(y)), alt(mayEndHigh ? EMPTY : NEVER, atMost(restB, isHighOpen, places - 1))),
  );
}

function someNonZero(places: number): Node {
  if (places === 0) return NEVER;
  return alt(seq(digits(1, 9), repeat(digit, 0, places - 1)), seq(literal("0"), someNonZero(places - 1)));
}

function digits(from: number, to: number): Node {
  return from > to ? NEVER : byteRange(0x30 + from, 0x30 + to);
}

/** The digits of |value| without exponent. */
function plain(value: number): { readonly whole: string; readonly fraction: string } {
  const [mantissa, exponent = "0"] = String(Math.abs(value)).split("e");
  const [head, tail = ""] = mantissa!.split(".");
  const shift = Number(exponent);
  const all = shift < 0 ? "0".repeat(-shift) + head! + tail : head! + tail.padEnd(shift, "0");
  const at = shift < 0 ? head!.length : head!.length + shift;
  return { whole: String(BigInt(all.slice(0, at))), fraction: all.slice(at).replace(/0+$/, "") };
}
