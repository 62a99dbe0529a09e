/** The text that a micro model is pretrained on: it teaches the world and its words, never questions and answers. */
import type { Random } from "../../packages/core/src/random/index.ts";
import { comparison, countSituation, NAMES, THINGS } from "./world.ts";

const pick = <T>(random: Random, items: readonly T[]): T => items[random.int(items.length)]!;

/**
 * Sentences with the words that problems use. A word that a model never met has an embedding like any other unmet word, and no adapter on frozen
 * embeddings could tell them apart.
 */
function wordsOfProblems(random: Random): string {
  const [who, other, thing] = [pick(random, NAMES), pick(random, NAMES), pick(random, THINGS)];
  return pick(random, [
    `${who} asks: How many ${thing} are there? Many.`,
    `${who} does not know how many ${thing} ${other} has now.`,
    `${other} gives the correct answer to ${who}.`,
    `What does ${who} have? ${who} has ${thing}.`,
    `What follows is a story. Answer ${other}, says ${who}.`,
    `How many more ${thing} do they have together?`,
    `Box A: ${thing}. Box Q: more ${thing}.\n${who} likes box A.`,
    `Is it true or false? ${who} has an answer1 and ${other} has an answer2.`,
    `There are two boxes: answer1: ${thing} answer2: more ${thing}`,
  ]);
}

/** "It is true that ..." of what follows from a fact, "It is false that ..." of what contradicts it. */
function judgement(random: Random): string {
  const { fact, follows, contradicts } = comparison(random);
  const lower = (sentence: string) => sentence.charAt(0).toLowerCase() + sentence.slice(1);
  return random.int(2) === 0
    ? `${fact} It is true that ${lower(follows)}`
    : `${fact} It is false that ${lower(contradicts)}`;
}

/** One story of a few sentences. */
export function story(random: Random): string {
  const kind = random.int(20);
  if (kind < 2) return wordsOfProblems(random);
  if (kind < 4) return judgement(random);
  if (kind < 6) {
    const { fact, follows } = comparison(random);
    return `${fact} ${follows}`;
  }
  const { facts, conclusion } = countSituation(random);
  return `${facts.join(" ")} ${conclusion}`;
}

export function* stories(random: Random, count: number): Generator<string> {
  for (let i = 0; i < count; i++) yield story(random);
}
