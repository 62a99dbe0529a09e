/** Problems in LLM-Adapters' format. Training and test problems share no pattern of kind and numbers with equal text, by construction. */
import { hashText, Random } from "../../packages/core/src/random/index.ts";
import { comparison, countSituation } from "./world.ts";

export interface Problem {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
  readonly answer: string;
}

/** A fifth of all number patterns (micro-math) and of all texts (micro-common) is kept for the test set alone. */
const isHeldOut = (key: string): boolean => hashText(key) % 5 === 0;

export function microMath(seed: number, count: number, split: "train" | "test"): Problem[] {
  const random = new Random(seed, split === "train" ? 11 : 12);
  return unique(count, () => {
    const s = countSituation(random);
    if (isHeldOut(s.pattern) !== (split === "test")) return undefined;
    return {
      instruction: `${s.facts.join(" ")} ${s.question}`,
      input: "",
      output: `${s.reason} The answer is ${s.answer}.`,
      answer: String(s.answer),
    };
  });
}

export function microCommon(seed: number, count: number, split: "train" | "test"): Problem[] {
  const random = new Random(seed, split === "train" ? 21 : 22);
  return unique(count, () => {
    const c = comparison(random);
    const claim = random.int(2) === 0 ? "follows" : "contradicts";
    if (random.int(2) === 0) {
      const instruction = `${c.fact} ${c.asks(claim)} Answer true or false.`;
      const answer = claim === "follows" ? "true" : "false";
      return split === (isHeldOut(c.fact) ? "test" : "train")
        ? { instruction, input: "", output: `The correct answer is ${answer}.`, answer }
        : undefined;
    }
    const [first, second] = claim === "follows" ? [c.follows, c.contradicts] : [c.contradicts, c.follows];
    const instruction = `${c.fact} What follows? answer1: ${first} answer2: ${second}`;
    const answer = claim === "follows" ? "answer1" : "answer2";
    return split === (isHeldOut(c.fact) ? "test" : "train")
      ? { instruction, input: "", output: `The correct answer is ${answer}.`, answer }
      : undefined;
  });
}

/** Draws until `count` different problems are there. Throws if the world has not so many. */
function unique(count: number, draw: () => Problem | undefined): Problem[] {
  const seen = new Map<string, Problem>();
  for (let tries = 0; seen.size < count; tries++) {
    if (tries > 400 * count)
      throw new Error(`the world has fewer than ${count} different problems of this kind (${seen.size} found)`);
    const problem = draw();
    if (problem && !seen.has(problem.instruction)) seen.set(problem.instruction, problem);
  }
  return [...seen.values()];
}
