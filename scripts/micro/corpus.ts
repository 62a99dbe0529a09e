/** The text that a micro model is pretrained on: it teaches the world, never questions and answers. */
import type { Random } from "../../packages/core/src/random/index.ts";
import { comparison, countSituation } from "./world.ts";

/** One story of a few sentences, on one line. */
export function story(random: Random): string {
  if (random.int(5) === 0) {
    const { fact, follows } = comparison(random);
    return `${fact} ${follows}`;
  }
  const { facts, conclusion } = countSituation(random);
  return `${facts.join(" ")} ${conclusion}`;
}

export function* stories(random: Random, count: number): Generator<string> {
  for (let i = 0; i < count; i++) yield story(random);
}
