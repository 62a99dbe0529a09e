/** The published files: what is in them, to the byte. Skipped where they are not there. */
import { expect, test } from "bun:test";
import { promptTemplates } from "@graft/core/data";
import { datasetFor, findDataset, hashOf } from "../src/index.ts";
import { shared } from "./shared.ts";

const folder = shared("datasets");

interface Facts {
  readonly rows: number;
  /** Rows by gold answer, where there are few. */
  readonly golds?: Readonly<Record<string, number>>;
  /** Characters of the longest instruction. */
  readonly longest: number;
  /** Over all prompts of LLM-Adapters' evaluation scripts: SHA-256 of them, one after the other. */
  readonly prompts: string;
}

const facts: Readonly<Record<string, Facts>> = {
  gsm8k: { rows: 1319, longest: 848, prompts: "d1a84fb521b0b11861a2d6e5971857f0e7c6c17c955e948822e8a33ef93654ef" },
  aqua: {
    rows: 254,
    golds: { A: 63, C: 46, D: 53, B: 58, E: 34 },
    longest: 553,
    prompts: "13c7f3a8b43d7f98bed7e1f47d85afa07724fdc4d685cf4e73ac63f3cd087a90",
  },
  mawps: { rows: 238, longest: 374, prompts: "e3885adbc530107dead139b260c9e510f57c4e2b31328cc732e194305f69ea91" },
  svamp: { rows: 1000, longest: 332, prompts: "bc7ffa2d8810fa7c3c3757a1189aa1dadc90b6b7486aa69d9ae97605ec5db327" },
  addsub: { rows: 395, longest: 356, prompts: "dd9a28c72fa2770c050f0122ea3824101a08f5a9c194917ee86c4d8fe13fe82f" },
  multiarith: { rows: 600, longest: 217, prompts: "fa3cbc225089c17b40918e6244b8370a8653aa4ba853d0482a47e70dbcc0bcff" },
  singleeq: { rows: 508, longest: 364, prompts: "2e2d1d4128ab3d2ee16a29ae02fb03f327f5f7d980ddc33a8518ecd30bb3aca1" },
  mathqa: {
    rows: 2985,
    golds: { A: 614, C: 676, E: 462, D: 628, B: 605 },
    longest: 701,
    prompts: "3c454a8b92f2f5379dfbf41157ae12aa9c90f8dffe2f2405f046b980515d8e34",
  },
  boolq: {
    rows: 3270,
    golds: { false: 1237, true: 2033 },
    longest: 195,
    prompts: "39b8106426d80331f135444375918d517e470238b907f2157ba1278ee13ddb43",
  },
  piqa: {
    rows: 1838,
    golds: { solution1: 910, solution2: 928 },
    longest: 2255,
    prompts: "f2a4bd3695d6ce3d09b15aab74b5bc6d7347b1a297d9dbf43e68ae7660822857",
  },
  social_i_qa: {
    rows: 1954,
    golds: { answer3: 657, answer1: 643, answer2: 654 },
    longest: 525,
    prompts: "499e2185a6a32165bf65a152b4d43179a302634937f3ccec4db511a0befa0703",
  },
  hellaswag: {
    rows: 10042,
    golds: { ending4: 2458, ending3: 2584, ending2: 2485, ending1: 2515 },
    longest: 1667,
    prompts: "11c5d7e668c971d6889c7e5fc5747b08c355e450e67dcaabfd0b49a06e8abfaf",
  },
  winogrande: {
    rows: 1267,
    golds: { option2: 639, option1: 628 },
    longest: 328,
    prompts: "34c454d62c11d42b94a9b5fe7a86754bf26ef383fb4f44d8fe1da1d516deaf59",
  },
  arc_easy: {
    rows: 2376,
    golds: { answer1: 596, answer2: 585, answer4: 561, answer3: 633, answer5: 1 },
    longest: 1090,
    prompts: "b14876e87d8ea33931f1df5a6532544604286bf8b3011e99df34ae1375804625",
  },
  arc_challenge: {
    rows: 1172,
    golds: { answer3: 310, answer2: 311, answer4: 285, answer1: 266 },
    longest: 1044,
    prompts: "7aab7ad24f43c88d481f1af7ee2ee03ebad5eac7dfc60accc224ee810976b7d0",
  },
  openbookqa: {
    rows: 500,
    golds: { answer2: 126, answer1: 138, answer3: 132, answer4: 104 },
    longest: 594,
    prompts: "f19bce5a5423809a0b83f7c25685daa1e64f2c13d6dc750d21a8d784feab518a",
  },
};

for (const [name, want] of Object.entries(facts)) {
  test.skipIf(!folder)(`${name}: rows, golds, the longest one, and the paper's prompts byte for byte`, async () => {
    expect(await factsOf(name, want.golds !== undefined)).toEqual(want);
    expect(want.rows).toBe(datasetFor(name).rows);
  });
}

async function factsOf(name: string, hasFewGolds: boolean): Promise<Facts> {
  const dataset = datasetFor(name);
  const docs = (await dataset.read(findDataset(dataset, "test", [folder!]))) as unknown as {
    instruction: string;
    input: string;
    answer: string;
    choices?: readonly string[];
    labels?: readonly string[];
  }[];
  for (const { answer, labels, choices } of docs) {
    if (!labels) continue;
    expect(labels).toContain(answer);
    expect(choices!.length).toBe(labels.length);
  }
  const golds = Object.fromEntries(
    [...Map.groupBy(docs, ({ answer }) => answer)].map(([answer, own]) => [answer, own.length]),
  );
  return {
    rows: docs.length,
    ...(hasFewGolds ? { golds } : {}),
    longest: Math.max(...docs.map(({ instruction }) => instruction.length)),
    prompts: hashOf(docs.map((doc) => promptTemplates["paper-eval"].prompt(doc)).join("")),
  };
}

test.skipIf(!folder)("GSM8K as OpenAI published it is the same problems with the same answers", async () => {
  const { read } = datasetFor("gsm8k");
  const own = await read(shared("datasets/llm-adapters/gsm8k/test.json")!);
  const published = await read(shared("datasets/gsm8k-original/test.jsonl")!);
  const key = ({ instruction }: Record<string, unknown>) => String(instruction).trim();
  const answers = new Map(published.map((doc) => [key(doc), Number(doc.answer)]));
  expect(published.length).toBe(own.length);
  expect(own.filter((doc) => answers.get(key(doc)) !== Number(doc.answer))).toEqual([]);
});

test.skipIf(!folder)("the other benchmarks are whole", async () => {
  const counts = { humaneval: 164, mt_bench: 80, sst2: 872 };
  for (const [name, count] of Object.entries(counts)) {
    const dataset = datasetFor(name);
    expect(await dataset.read(findDataset(dataset, "test", [folder!]))).toHaveLength(count);
  }
  for (const name of [
    "gsm8k",
    "mawps",
    "boolq",
    "piqa",
    "social_i_qa",
    "arc_easy",
    "arc_challenge",
    "openbookqa",
    "sst2",
  ]) {
    const dataset = datasetFor(name);
    expect((await dataset.read(findDataset(dataset, "train", [folder!]))).length).toBeGreaterThan(1000);
  }
});
