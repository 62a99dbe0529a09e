/** The published test sets: every task in every scoring with models that are perfect, constant and random. Skipped where the data sets are not there. */
import { expect, test } from "bun:test";
import { hashText, Random } from "@graft/core/random";
import { loadTokenizer } from "@graft/core/text";
import { promptTemplates } from "@graft/core/data";
import { findDataset, primaryFigure, runTask, scoringNames, taskFor } from "../src/index.ts";
import { fakeModel, type Says } from "./fake-model.ts";
import { shared } from "./shared.ts";

const folder = shared("datasets");

interface Gold {
  readonly answer: string;
  readonly labels?: readonly string[];
}

/** Rows, and how often the most frequent answer is right. */
const sets: Readonly<Record<string, { readonly rows: number }>> = {
  gsm8k: { rows: 1319 },
  aqua: { rows: 254 },
  mawps: { rows: 238 },
  svamp: { rows: 1000 },
  addsub: { rows: 395 },
  multiarith: { rows: 600 },
  singleeq: { rows: 508 },
  mathqa: { rows: 2985 },
  boolq: { rows: 3270 },
  piqa: { rows: 1838 },
  social_i_qa: { rows: 1954 },
  hellaswag: { rows: 10042 },
  winogrande: { rows: 1267 },
  arc_easy: { rows: 2376 },
  arc_challenge: { rows: 1172 },
  openbookqa: { rows: 500 },
};

const state = (isCommonsense: boolean, answer: string) =>
  isCommonsense
    ? `the correct answer is ${answer}`
    : /^[A-E]$/.test(answer)
      ? `so it must be (${answer})`
      : `We count. The answer is ${answer}.`;

/** The answer that most docs have. */
function majority(docs: readonly Gold[]): string {
  const counts = Map.groupBy(docs, (doc) => doc.answer);
  return [...counts].reduce((best, one) => (one[1].length > best[1].length ? one : best))[0];
}

for (const [name, { rows }] of Object.entries(sets)) {
  const task = taskFor(name);
  const isCommonsense = task.groups.includes("commonsense");
  for (const scoring of scoringNames) {
    test.skipIf(!folder)(
      `${name}, ${scoring}: perfect 1, constant the majority's share, random inside its interval`,
      async () => {
        const dataDirs = [folder!];
        const docs = (await task.dataset.read(findDataset(task.dataset, "test", dataDirs))) as unknown as Gold[];
        const place = (doc: number, answer: string) => docs[doc]!.labels?.indexOf(answer) ?? 0;
        const model = (answerOf: (doc: number) => string): Says => ({
          generate: (doc) => state(isCommonsense, answerOf(doc)),
          logprob: (doc, _text, i) => {
            const isMeant = docs[doc]!.labels ? i === place(doc, answerOf(doc)) : answerOf(doc) === docs[doc]!.answer;
            return isMeant ? -0.5 : -50 - i;
          },
        });
        const run = async (says: Says) => {
          const result = await runTask(task, fakeModel(says), { dataDirs, scoring });
          expect(result).toMatchObject({ count: rows, total: rows });
          return primaryFigure(result).value;
        };
        expect(await run(model((doc) => docs[doc]!.answer))).toBe(1);
        const most = majority(docs);
        const equal = (a: string, b: string) =>
          a === b || (scoring !== "loglikelihood" && Math.abs(Number(a) - Number(b)) <= 1e-6);
        const hits = docs.filter((doc) => equal(doc.answer, most)).length;
        expect(await run(model(() => most))).toBeCloseTo(hits / rows, 10);
        if (!docs[0]!.labels) return;
        const random = new Random(hashText(name));
        const guesses = docs.map(({ labels }) => labels![random.int(labels!.length)]!);
        const expected = docs.reduce((sum, { labels }) => sum + 1 / labels!.length, 0) / rows;
        const spread = Math.sqrt((expected * (1 - expected)) / rows);
        expect(Math.abs((await run(model((doc) => guesses[doc]!))) - expected)).toBeLessThan(3.5 * spread);
      },
    );
  }
}

const tokenizers = ["gpt2", "gptj", "bloom-pretok", "openllama-zh-en", "tok512"];

/** Tokens of the longest prompt in the paper's training template, special tokens counted, under each of the tokenizers. */
const longest: Readonly<Record<string, readonly number[]>> = {
  addsub: [196, 196, 196, 240, 335],
  aqua: [266, 266, 266, 279, 468],
  arc_challenge: [320, 320, 319, 336, 766],
  arc_easy: [327, 327, 325, 339, 741],
  boolq: [149, 149, 148, 154, 221],
  gsm8k: [290, 290, 290, 299, 555],
  hellaswag: [461, 461, 459, 501, 1075],
  mathqa: [285, 285, 285, 342, 561],
  mawps: [201, 201, 201, 245, 342],
  multiarith: [160, 160, 160, 171, 230],
  openbookqa: [237, 237, 235, 248, 446],
  piqa: [631, 631, 628, 658, 1433],
  singleeq: [201, 201, 201, 245, 334],
  social_i_qa: [224, 224, 222, 235, 414],
  svamp: [176, 176, 176, 191, 286],
  winogrande: [181, 181, 180, 187, 301],
};

test.skipIf(!folder)(
  "the longest prompt of every data set under every tokenizer",
  async () => {
    const found: Record<string, number[]> = {};
    const encoders = tokenizers.map((name) => loadTokenizer(shared(`tokenizers/${name}`)!));
    for (const name of Object.keys(sets)) {
      const { dataset } = taskFor(name);
      const docs = (await dataset.read(findDataset(dataset, "test", [folder!]))) as unknown as {
        instruction: string;
      }[];
      // The prompt with the most tokens is among those with the most characters.
      const long = docs.toSorted((a, b) => b.instruction.length - a.instruction.length).slice(0, 100);
      const prompts = long.map(({ instruction }) => promptTemplates.paper.prompt({ instruction, input: "" }));
      found[name] = encoders.map((encoder) =>
        Math.max(...prompts.map((prompt) => encoder.encode(prompt, { addSpecialTokens: true }).length)),
      );
    }
    expect(found).toEqual(longest as Record<string, number[]>);
  },
  60_000,
);
