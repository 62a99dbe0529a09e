/** The published files themselves: rows, gold answers, longest prompts and every byte of the instructions, as committed hashes. */
import { expect, test } from "bun:test";
import { join, resolve } from "node:path";
import {
  type ChoiceDoc,
  datasetFor,
  findDataset,
  hashOf,
  hasDataset,
  type InstructionDoc,
  type Split,
} from "../src/index.ts";
import { shared } from "./shared.ts";

const folder = shared("datasets");
const folders = [...(folder ? [folder] : []), resolve(import.meta.dir, "../../../models/data")];

interface Facts {
  readonly rows: number;
  /** UTF-16 units of the longest text. */
  readonly longest: number;
  /** SHA-256 over all texts with a line feed between them. */
  readonly sha256: string;
  /** How often each gold answer occurs, where they are few. */
  readonly gold?: Readonly<Record<string, number>>;
}

/** By data set and split. The text is the instruction, GLUE's sentence, the program's head, or both turns. */
const facts: Readonly<Record<string, Facts>> = {
  "addsub test": {
    rows: 395,
    longest: 356,
    sha256: "5d95b665158c815ece1b6f0d3aff7cb0cac43df169fd77364b5da90732ebcad2",
  },
  "aqua test": {
    rows: 254,
    longest: 553,
    sha256: "eaf23b62e26876303feecaef579b3b322b09b1a7e28ebd27ee67813d85e24466",
    gold: { A: 63, B: 58, C: 46, D: 53, E: 34 },
  },
  "gsm8k test": {
    rows: 1319,
    longest: 848,
    sha256: "337e4d239bf7f33c8d480d3dd18864f8e2b74d58e12f5e2d26248765742a59df",
  },
  "gsm8k train": {
    rows: 7473,
    longest: 985,
    sha256: "cacf442f680e1f8a7011e7c71affd0ba20da2f8ecaf3ae4c116bb91f5fa3023f",
  },
  "mathqa test": {
    rows: 2985,
    longest: 701,
    sha256: "0bed3825cc6b1f8e57178d94aedfddeee543f0c7264af2c870f8a0077de2fc73",
    gold: { A: 614, B: 605, C: 676, D: 628, E: 462 },
  },
  "mawps test": { rows: 238, longest: 374, sha256: "fc9ead6720468f0b61680155da4f9880851eae6840ff6b9648e718dad14e9ad5" },
  "mawps train": {
    rows: 1898,
    longest: 469,
    sha256: "cd19d74806ac9ea1ad3f2647c916a436990e371f29e767d2aa475387c50ed83a",
  },
  "multiarith test": {
    rows: 600,
    longest: 217,
    sha256: "500df1633f9cffe7e36dcb2599256a31cb0772138e26973ff4c0f0e05c6fe40b",
  },
  "singleeq test": {
    rows: 508,
    longest: 364,
    sha256: "46cdbb9438a2511b0e486b056b7da72d4ccadc82bbda9bcaf1b122364f085cba",
  },
  "svamp test": {
    rows: 1000,
    longest: 332,
    sha256: "8a56f5fba67c1f35a8d9826aac4b34c754ecb937e748272002cab73f3eba1385",
  },
  "arc_challenge test": {
    rows: 1172,
    longest: 1044,
    sha256: "4daba9270c432a56097ae33f1059a19cbb95b508ce24f9800d671912b37a5996",
    gold: { answer1: 266, answer2: 311, answer3: 310, answer4: 285 },
  },
  "arc_challenge train": {
    rows: 1119,
    longest: 973,
    sha256: "5c7e2cc5d56fccdbd90f6b14c82510e59b777954972867547e189ba2735ff749",
    gold: { answer1: 239, answer2: 296, answer3: 291, answer4: 293 },
  },
  "arc_easy test": {
    rows: 2376,
    longest: 1090,
    sha256: "b73f7a0e6ceb895f5bb00fb3c8adfc88259b76b86959b1121a295cf9783945b0",
    gold: { answer1: 596, answer2: 585, answer3: 633, answer4: 561, answer5: 1 },
  },
  "arc_easy train": {
    rows: 2251,
    longest: 847,
    sha256: "0dbfaaac9865db7be6c8f5cacefbe30ebb8be8cd45e57ef7ac33181a49a78750",
    gold: { answer1: 548, answer2: 588, answer3: 578, answer4: 535, answer5: 2 },
  },
  "boolq test": {
    rows: 3270,
    longest: 195,
    sha256: "9a0d275b972b375b65acb30690b382576d89c3d0ce73c95e70eb3c6b479f32bb",
    gold: { false: 1237, true: 2033 },
  },
  "boolq train": {
    rows: 9427,
    longest: 195,
    sha256: "0893f273a1977c63f1842d09989b53cbeb3eac05a0e048b38245808772b26068",
    gold: { false: 3553, true: 5874 },
  },
  "hellaswag test": {
    rows: 10042,
    longest: 1667,
    sha256: "46a99d70011d3919f27ed92fb9a18e897610d0439ea1c446d03e20e8b9c0f9c6",
    gold: { ending1: 2515, ending2: 2485, ending3: 2584, ending4: 2458 },
  },
  "openbookqa test": {
    rows: 500,
    longest: 594,
    sha256: "5d900962fe9d328638213e510789bc810a55119c130deb7ca5971bf41302483a",
    gold: { answer1: 138, answer2: 126, answer3: 132, answer4: 104 },
  },
  "openbookqa train": {
    rows: 4957,
    longest: 626,
    sha256: "28cf319855d22bc5883499a3143f86b8a9b0d30903d53cdec9bcd65efe1d00fe",
    gold: { answer1: 1378, answer2: 1212, answer3: 1146, answer4: 1221 },
  },
  "piqa test": {
    rows: 1838,
    longest: 2255,
    sha256: "728e301f0f94850debbe13b98a9d9e7beeaef0953c78498d65c4b4a716705765",
    gold: { solution1: 910, solution2: 928 },
  },
  "piqa train": {
    rows: 16113,
    longest: 4504,
    sha256: "6825b7e7984a8c525ccf5c1d482d1776976c45899ddcc175d9f8163e6df80d24",
    gold: { solution1: 8053, solution2: 8060 },
  },
  "social_i_qa test": {
    rows: 1954,
    longest: 525,
    sha256: "aaf197ad55bfcf5c5ddb3b8560b8bda8aa44b2cb9384d1b05ec3a550aae4fbd4",
    gold: { answer1: 643, answer2: 654, answer3: 657 },
  },
  "social_i_qa train": {
    rows: 33410,
    longest: 808,
    sha256: "d37d890cf732aa490dde31eb5acf617625e3b17196fd90f0fcb4ab2ffcbfe09d",
    gold: { answer1: 11274, answer2: 11176, answer3: 10960 },
  },
  "winogrande test": {
    rows: 1267,
    longest: 328,
    sha256: "34f92acf49abc88b7f5a5bc347c0abe8276c4d95e790dd0c72c5dc290f916e18",
    gold: { option1: 628, option2: 639 },
  },
  "humaneval test": {
    rows: 164,
    longest: 1360,
    sha256: "434be9338c7fd2fad2dd3154020167a1b3d8a891e18fa1bec9b37f61d0fb3138",
  },
  "mt_bench test": {
    rows: 80,
    longest: 1757,
    sha256: "95417f222bb20b51a75d3c2eb06c4bce263e6c580ce636b29b9c2744892ac723",
    gold: { coding: 10, extraction: 10, humanities: 10, math: 10, reasoning: 10, roleplay: 10, stem: 10, writing: 10 },
  },
  "sst2 test": {
    rows: 872,
    longest: 244,
    sha256: "152a1d7bcec9660a714ef1be0d32d923c8e2ee2dfc3462713cccd59d0498e804",
    gold: { "0": 428, "1": 444 },
  },
  "sst2 train": {
    rows: 10000,
    longest: 260,
    sha256: "a79de1bff40dc69d3fc7cd9f40bcfec091fa59c2e5308991926af107c82c7449",
    gold: { "0": 4406, "1": 5594 },
  },
  "micro-common test": {
    rows: 100,
    longest: 137,
    sha256: "add57f4c8bb1deed8f8880687776fbe002f74d03ebff1ee4288daeef2a02a47e",
    gold: { answer1: 27, answer2: 27, false: 25, true: 21 },
  },
  "micro-common train": {
    rows: 600,
    longest: 140,
    sha256: "9af32335c02e448e268e2186dd1dd5b2734a58f502163267e1705ae3b63c7f6d",
    gold: { answer1: 173, answer2: 154, false: 149, true: 124 },
  },
  "micro-math test": {
    rows: 200,
    longest: 84,
    sha256: "72d5d856ad30726a952a4ba9995126639f9e4b64580964e9bd85462ba97d31bf",
  },
  "micro-math train": {
    rows: 2000,
    longest: 86,
    sha256: "b5c6eb3f62ebe95d89a3f1df20875bec1fe14dc687c3c062c0c7fb29c7a58bc8",
  },
};

const textOf = (doc: Readonly<Record<string, unknown>>): string =>
  (doc.instruction ?? doc.sentence1 ?? doc.prompt ?? (doc.turns as string[] | undefined)?.join("\n")) as string;
const goldOf = ({ answer, label, category }: Readonly<Record<string, unknown>>): string =>
  (answer ?? label ?? category) as string;

for (const [key, want] of Object.entries(facts)) {
  const [name, split] = key.split(" ") as [string, Split];
  const dataset = datasetFor(name);
  test.skipIf(!hasDataset(dataset, split, folders))(
    `${key}: rows, gold answers, longest text, every byte`,
    async () => {
      const docs = await dataset.read(findDataset(dataset, split, folders));
      const texts = docs.map(textOf);
      const gold: Record<string, number> = {};
      for (const doc of docs) if (want.gold) gold[goldOf(doc)] = (gold[goldOf(doc)] ?? 0) + 1;
      expect<Facts>({
        rows: docs.length,
        longest: Math.max(...texts.map((text) => text.length)),
        sha256: hashOf(texts.join("\n")),
        ...(want.gold ? { gold } : {}),
      }).toEqual(want);
      if (split === "test") expect(docs.length).toBe(dataset.rows);
    },
  );
}

/** A row's instruction out of its parts, as LLM-Adapters words it. */
const worded = {
  answers: ({ question, choices, labels }: ChoiceDoc) =>
    `Please choose the correct answer to the question: ${question}\n\n${listed(choices, "Answer", " ")}\n\nAnswer format: ${labels.join("/")}`,
  piqa: ({ question, choices }: ChoiceDoc) =>
    `Please choose the correct solution to the question: ${question}\n\n${listed(choices, "Solution", "\n\n")}\n\nAnswer format: solution1/solution2`,
  hellaswag: ({ question, choices, labels }: ChoiceDoc) =>
    `Please choose the correct ending to complete the given sentence: ${question}\n\n${listed(choices, "Ending", " ")}\n\nAnswer format: ${labels.join("/")}`,
  winogrande: ({ question, choices }: ChoiceDoc) =>
    `Please choose the correct answer to fill in the blank to complete the given sentence: ${question}\n\n${listed(choices, "Option", " ")} Answer format: option1/option2`,
  boolq: ({ question }: ChoiceDoc) =>
    `Please answer the following question with true or false, question: ${question}?\n\nAnswer format: true/false`,
};
const listed = (choices: readonly string[], word: string, between: string): string =>
  choices.map((choice, i) => `${word}${i + 1}: ${choice}`).join(between);

const wordings: Readonly<Record<string, (doc: ChoiceDoc) => string>> = {
  arc_easy: worded.answers,
  arc_challenge: worded.answers,
  openbookqa: worded.answers,
  social_i_qa: worded.answers,
  piqa: worded.piqa,
  hellaswag: worded.hellaswag,
  winogrande: worded.winogrande,
  boolq: worded.boolq,
};

for (const [name, word] of Object.entries(wordings)) {
  const dataset = datasetFor(name);
  test.skipIf(!hasDataset(dataset, "test", folders))(
    `${name}: question and choices are the instruction again`,
    async () => {
      for (const split of ["test", "train"] as const) {
        if (!hasDataset(dataset, split, folders)) continue;
        for (const doc of (await dataset.read(findDataset(dataset, split, folders))) as ChoiceDoc[]) {
          expect(word(doc)).toBe(doc.instruction);
          expect(doc.labels).toContain(doc.answer);
          expect(doc.output).toBe(`the correct answer is ${doc.answer}`);
        }
      }
    },
  );
}

test.skipIf(!folder)("aqua and mathqa: the options stand in the instruction in their order", async () => {
  for (const name of ["aqua", "mathqa"]) {
    const dataset = datasetFor(name);
    // Blanks around brackets and capitals are LLM-Adapters' own.
    const plain = (text: string): string => text.toLowerCase().replaceAll(/[\s()]/g, "");
    for (const doc of (await dataset.read(findDataset(dataset, "test", folders))) as ChoiceDoc[]) {
      expect(doc.instruction.startsWith(doc.question)).toBe(true);
      expect(doc.choices.length).toBe(5);
      const options = plain(doc.instruction.slice(doc.question.length));
      let at = 0;
      for (const [i, choice] of doc.choices.entries()) {
        const mark = plain(`${doc.labels[i]})`);
        const found = options.indexOf(plain(choice), options.indexOf(mark, at));
        expect(found).toBeGreaterThanOrEqual(at);
        at = found + plain(choice).length;
      }
    }
  }
});

test.skipIf(!folder)("gsm8k: the published problems are LLM-Adapters' problems, answers too", async () => {
  const dataset = datasetFor("gsm8k");
  const byInstruction = async (path: string) =>
    new Map(
      ((await dataset.read(join(folder!, path))) as InstructionDoc[]).map((doc) => [doc.instruction, doc.answer]),
    );
  const published = await byInstruction("gsm8k-original/test.jsonl");
  const adapters = await byInstruction("llm-adapters/gsm8k/test.json");
  expect(published.size).toBe(1319);
  expect(Object.fromEntries(published)).toEqual(Object.fromEntries(adapters));
});

test.skipIf(!folder)("both the folder of LLM-Adapters and the one above are found", () => {
  for (const name of ["aqua", "boolq", "hellaswag", "gsm8k"]) {
    const dataset = datasetFor(name);
    const path = findDataset(dataset, "test", [folder!]);
    expect(path).toContain("llm-adapters");
    expect(findDataset(dataset, "test", [join(folder!, "llm-adapters")])).toBe(path);
  }
});
