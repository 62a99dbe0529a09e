/**
 * What batching gives an evaluation: `bun bench/eval-throughput.ts [--model DIR] [--gsm8k FILE] [--sequences N] [--rounds N] [--limit N]`, prints JSON.
 * Greedy generation, beam search and four-choice questions, all prompts in one call against one prompt at a time, in turn: each round runs all of them together, and a
 * share of them one by one, so that after the rounds each has been alone once. A ratio compares the sum of those with the median of the others; tokens must be equal.
 * FILE: questions in GSM8K's own format; without it problems that the embedded models' generator writes. Prompts that leave no room for the new tokens lose their beginning.
 */
import { promptTemplates } from "../packages/core/src/data/index.ts";
import { createLanguageModel, Generator, type LanguageModel } from "../packages/core/src/generate/index.ts";
import { loadBaseModel } from "../packages/core/src/models/index.ts";
import { loadTokenizer } from "../packages/core/src/text/index.ts";
import { median, openDevice } from "../packages/kernels/src/index.ts";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { microMath } from "../scripts/micro/problems.ts";

const { values: args } = parseArgs({
  options: {
    model: { type: "string", default: new URL("../models/graft-micro-llama", import.meta.url).pathname },
    gsm8k: { type: "string" },
    sequences: { type: "string", default: "64" },
    rounds: { type: "string", default: "5" },
    limit: { type: "string", default: "200" },
    "new-tokens": { type: "string", default: "128" },
  },
});
const [rounds, limit, maxNewTokens] = [Number(args.rounds), Number(args.limit), Number(args["new-tokens"])];

const problems = microMath(2026, Math.max(limit, 50), "test").map(({ instruction }) => instruction);

function readQuestions(): string[] {
  if (args.gsm8k === undefined) return problems.slice(0, limit);
  const lines = readFileSync(args.gsm8k, "utf8").trim().split("\n").slice(0, limit);
  return lines.map((line) => (JSON.parse(line) as { question: string }).question);
}

/** One way to evaluate: any part of its items, with something to compare the outcome by. */
interface Workload {
  readonly name: string;
  readonly items: number;
  run(model: LanguageModel, items: readonly number[]): Promise<readonly unknown[]>;
}

function generation(name: string, prompts: readonly string[], more: object): Workload {
  return {
    name,
    items: prompts.length,
    async run(model, items) {
      const results = await model.generate(
        items.map((i) => ({ prompt: prompts[i]!, maxNewTokens, truncation: "left", ...more })),
      );
      return results.map(({ sequences }) => sequences.map(({ ids }) => ids.join()));
    },
  };
}

/** Pairs of a question and one of its four choices, behind the same three shots; `of` gives the choices. */
function choices(name: string, questions: readonly string[], of: (question: number) => readonly string[]): Workload {
  const shots = questions.slice(-2).join(" Answer: A\n");
  const pairs = questions.flatMap((question, i) =>
    of(i).map((continuation) => ({
      context: `${shots} Answer: B\n${question} Answer:`,
      continuation,
      truncation: "left" as const,
    })),
  );
  return {
    name,
    items: pairs.length,
    async run(model, items) {
      const results = await model.loglikelihood(items.map((i) => pairs[i]!));
      return results.map(({ logprob, isGreedy }) => [logprob, isGreedy]);
    },
  };
}

async function measure(workload: Workload, together: LanguageModel, alone: LanguageModel): Promise<object> {
  const { name, items, run } = workload;
  const all = Array.from({ length: items }, (_, i) => i);
  const seconds = { alone: 0, together: [] as number[] };
  // What a first run compiles is no part of either.
  await run(together, all);
  for (const i of [0, 1]) await run(alone, [i]);
  for (let round = 0; round < rounds; round++) {
    let begun = performance.now();
    const batched = await run(together, all);
    seconds.together.push((performance.now() - begun) / 1000);
    for (const i of all.filter((n) => n % rounds === round)) {
      begun = performance.now();
      const [own] = await run(alone, [i]);
      seconds.alone += (performance.now() - begun) / 1000;
      if (JSON.stringify(own) !== JSON.stringify(batched[i])) throw new Error(`${name}: item ${i} differs when alone`);
    }
    process.stderr.write(`${name}: round ${round + 1} of ${rounds}\n`);
  }
  const batched = median(seconds.together);
  return {
    name,
    items,
    aloneSeconds: seconds.alone,
    togetherSeconds: batched,
    itemsPerSecond: items / batched,
    ratio: seconds.alone / batched,
  };
}

const device = await openDevice();
const base = loadBaseModel(device, args.model, { dtype: "auto" });
const tokenizer = loadTokenizer(args.model);
const languageOf = (generator: Generator) =>
  createLanguageModel({ name: "bench", generator, tokenizer, weights: undefined });
const generators = [
  new Generator(base, { maxSequences: Number(args.sequences) }),
  new Generator(base, { maxSequences: 4 }),
] as const;
const [together, alone] = [languageOf(generators[0]), languageOf(generators[1])];
const prompts = readQuestions().map((instruction) => promptTemplates.micro.prompt({ instruction, input: "" }));
const few = problems.slice(0, 50);
const workloads = [
  generation("greedy", prompts, {}),
  generation("beams", prompts.slice(0, 50), { numBeams: 4 }),
  choices("choices of one letter", few, () => [" A", " B", " C", " D"]),
  choices("choices of a sentence", few, (i) => [1, 2, 3, 4].map((n) => ` ${few[(i + n) % few.length]!}`)),
];
const results = [];
for (const workload of workloads) results.push(await measure(workload, together, alone));
console.log(
  JSON.stringify(
    {
      device: device.info.description || device.info.device,
      date: new Date().toISOString(),
      model: args.model,
      sequences: Number(args.sequences),
      maxNewTokens,
      rounds,
      results,
    },
    null,
    2,
  ),
);
for (const generator of generators) await generator.destroy();
base.destroy();
await device.close();
process.exit();
