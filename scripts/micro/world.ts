/** The micro world: people with things, counts that change, sizes and colours. Stories teach its facts; problems ask about them. */
import type { Random } from "../../packages/core/src/random/index.ts";

export const NAMES = ["Tom", "Mia", "Ben", "Ana", "Sam", "Eva", "Max", "Lily", "Leo", "Zoe", "Jack", "Nina"] as const;
export const THINGS = [
  "apples",
  "books",
  "coins",
  "balls",
  "cards",
  "stones",
  "shells",
  "pens",
  "cups",
  "hats",
] as const;
const ANIMALS = ["cat", "dog", "horse", "bird", "mouse", "cow", "fox", "bear"] as const;
const COLOURS = ["red", "blue", "green", "white", "black"] as const;
const OBJECTS = ["ball", "box", "cup", "hat", "kite", "boat"] as const;
/** No count in the world is higher: every number is one token. */
export const HIGHEST = 20;

/** Something that happened with counts: what is known, and what follows. */
export interface Situation {
  /** Sentences of what is given. */
  readonly facts: readonly string[];
  /** What follows, as a story says it ("Now Tom has 7 apples."). */
  readonly conclusion: string;
  readonly question: string;
  /** A full sentence that answers the question. */
  readonly reason: string;
  readonly answer: number;
  /** Tells situations apart: kind and numbers, people and things left out. */
  readonly pattern: string;
}

type Maker = (random: Random) => Situation;

const pick = <T>(random: Random, items: readonly T[]): T => items[random.int(items.length)]!;

function two(random: Random): [string, string] {
  const first = pick(random, NAMES);
  for (;;) {
    const second = pick(random, NAMES);
    if (second !== first) return [first, second];
  }
}

/** Two counts whose sum fits. */
function addends(random: Random): [number, number] {
  const sum = 2 + random.int(HIGHEST - 1);
  const a = 1 + random.int(sum - 1);
  return [a, sum - a];
}

const gain: Maker = (random) => {
  const [who, other] = two(random);
  const thing = pick(random, THINGS);
  const [a, b] = addends(random);
  const event = pick(random, [
    `${other} gives ${who} ${b} ${thing}.`,
    `${who} finds ${b} ${thing}.`,
    `${who} buys ${b} ${thing}.`,
  ]);
  return now(who, thing, a, event, a + b, `gain ${a} ${b}`);
};

const loss: Maker = (random) => {
  const [who, other] = two(random);
  const thing = pick(random, THINGS);
  const [b, left] = addends(random);
  const event = pick(random, [
    `${who} gives ${other} ${b} ${thing}.`,
    `${who} loses ${b} ${thing}.`,
    `${who} sells ${b} ${thing}.`,
  ]);
  return now(who, thing, b + left, event, left, `loss ${b + left} ${b}`);
};

function now(who: string, thing: string, before: number, event: string, after: number, pattern: string): Situation {
  return {
    facts: [`${who} has ${before} ${thing}.`, event],
    conclusion: `Now ${who} has ${after} ${thing}.`,
    question: `How many ${thing} does ${who} have now?`,
    reason: `${who} has ${after} ${thing}.`,
    answer: after,
    pattern,
  };
}

const together: Maker = (random) => {
  const [first, second] = two(random);
  const thing = pick(random, THINGS);
  const [a, b] = addends(random);
  return {
    facts: [`${first} has ${a} ${thing}.`, `${second} has ${b} ${thing}.`],
    conclusion: `Together they have ${a + b} ${thing}.`,
    question: `How many ${thing} do they have together?`,
    reason: `They have ${a + b} ${thing}.`,
    answer: a + b,
    pattern: `together ${a} ${b}`,
  };
};

const difference: Maker = (random) => {
  const [first, second] = two(random);
  const thing = pick(random, THINGS);
  const [more, b] = addends(random);
  return {
    facts: [`${first} has ${more + b} ${thing}.`, `${second} has ${b} ${thing}.`],
    conclusion: `${first} has ${more} more ${thing} than ${second}.`,
    question: `How many more ${thing} does ${first} have than ${second}?`,
    reason: `${first} has ${more} more ${thing}.`,
    answer: more,
    pattern: `difference ${more + b} ${b}`,
  };
};

const situations: readonly Maker[] = [gain, loss, together, difference];

export function countSituation(random: Random): Situation {
  return pick(random, situations)(random);
}

/** A claim about sizes or colours with what follows from it, and what does not. */
export interface Comparison {
  readonly fact: string;
  readonly follows: string;
  readonly contradicts: string;
  /** "Is the dog smaller than the cat?" is asked about `follows` or `contradicts`. */
  readonly asks: (claim: "follows" | "contradicts") => string;
}

export function comparison(random: Random): Comparison {
  if (random.int(3) === 0) {
    const object = pick(random, OBJECTS);
    const colour = pick(random, COLOURS);
    const other = COLOURS[(COLOURS.indexOf(colour) + 1 + random.int(COLOURS.length - 1)) % COLOURS.length]!;
    return {
      fact: `The ${object} is ${colour}.`,
      follows: `It is a ${colour} ${object}.`,
      contradicts: `It is a ${other} ${object}.`,
      asks: (claim) => `Is the ${object} ${claim === "follows" ? colour : other}?`,
    };
  }
  const first = pick(random, ANIMALS);
  const second = ANIMALS[(ANIMALS.indexOf(first) + 1 + random.int(ANIMALS.length - 1)) % ANIMALS.length]!;
  const [word, opposite] = pick(random, [
    ["bigger", "smaller"],
    ["faster", "slower"],
    ["older", "younger"],
  ] as const);
  return {
    fact: `The ${first} is ${word} than the ${second}.`,
    follows: `The ${second} is ${opposite} than the ${first}.`,
    contradicts: `The ${second} is ${word} than the ${first}.`,
    asks: (claim) => `Is the ${second} ${claim === "follows" ? opposite : word} than the ${first}?`,
  };
}
