/** Every form in which a data set is published, on rows of our own. */
import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { datasetFor, datasets } from "../src/index.ts";
import { ownRows } from "./own-rows.ts";

/** A file of that content, and others beside it. */
function written(name: string, content: string, beside: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "dataset-"));
  for (const [file, text] of Object.entries({ [name]: content, ...beside })) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return join(folder, name);
}
const jsonl = (rows: readonly object[]): string => rows.map((row) => JSON.stringify(row)).join("\n");
const read = (name: string, path: string) => datasetFor(name).read(path);

interface Published {
  readonly rows: readonly object[];
  readonly want: object;
  readonly beside?: Readonly<Record<string, string>>;
}

const science = {
  rows: [
    {
      question: {
        stem: "What is cold?",
        choices: [
          { text: "fire", label: "A" },
          { text: "ice", label: "B" },
        ],
      },
      answerKey: "B",
    },
  ],
  want: {
    instruction:
      "Please choose the correct answer to the question: What is cold?\n\nAnswer1: fire Answer2: ice\n\nAnswer format: answer1/answer2",
    answer: "answer2",
    question: "What is cold?",
    choices: ["fire", "ice"],
    labels: ["answer1", "answer2"],
  },
};
const solutions = {
  rows: [{ sQuestion: "Ann has 2 pens and 3 cups. How many things?", lSolutions: [5] }],
  want: { instruction: "Ann has 2 pens and 3 cups. How many things?", answer: "5.0" },
};

const published: Readonly<Record<string, Published>> = {
  gsm8k: {
    rows: [{ question: "Ann has 1200 pens. Half?", answer: "Half is 1200/2=<<1200/2=600>>600\n#### 1,600" }],
    want: {
      instruction: "Ann has 1200 pens. Half?",
      answer: "1600.0",
      output: "Half is 1200/2=600\nThe answer is 1,600.",
    },
  },
  aqua: {
    rows: [
      { question: "What is 2 + 3?", options: ["A)4", "B)5", "C)6", "D)7", "E)8"], rationale: "Add.", correct: "B" },
    ],
    want: {
      answer: "B",
      choices: ["4", "5", "6", "7", "8"],
      labels: ["A", "B", "C", "D", "E"],
      question: "What is 2 + 3?",
    },
  },
  mawps: {
    rows: [{ original_text: "Ann has 2 .", ans: 2.5, equation: "X=2" }],
    want: { instruction: "Ann has 2 .", answer: "2.5" },
  },
  svamp: {
    rows: [{ Body: "Ann has 7 cups", Question: "How many?", Answer: 7.0 }],
    want: { instruction: "Ann has 7 cups. How many?", answer: "7.0" },
  },
  addsub: solutions,
  multiarith: solutions,
  singleeq: solutions,
  mathqa: {
    rows: [{ Problem: "what is 2 + 3 ?", options: "a ) 4 , b ) 5 , c ) 6 , d ) 7 , e ) 8", correct: "b" }],
    want: {
      instruction: "what is 2 + 3 ? The options: A ) 4 , B ) 5 , C ) 6 , D ) 7 , E ) 8",
      answer: "B",
      choices: ["4", "5", "6", "7", "8"],
    },
  },
  boolq: {
    rows: [{ question: "is water wet", answer: true, passage: "Water is wet." }],
    want: {
      instruction:
        "Please answer the following question with true or false, question: is water wet?\n\nAnswer format: true/false",
      answer: "true",
      question: "is water wet",
      passage: "Water is wet.",
    },
  },
  piqa: {
    rows: [{ goal: "To dry a shirt", sol1: "wet it", sol2: "hang it" }],
    beside: { "piqa/dev-labels.lst": "1\n" },
    want: { answer: "solution2", question: "To dry a shirt", choices: ["wet it", "hang it"] },
  },
  social_i_qa: {
    rows: [{ context: "Ann won.", question: "What next?", answerA: "cry", answerB: "cheer", answerC: "sleep" }],
    beside: { "social_i_qa/dev-labels.lst": "2\n" },
    want: { answer: "answer2", question: "Ann won. What next?", choices: ["cry", "cheer", "sleep"] },
  },
  hellaswag: {
    rows: [
      {
        activity_label: "Cooking",
        ctx: "A man heats oil. he",
        endings: ["flies.", "adds salt.", "sings.", "rusts."],
        label: 1,
      },
    ],
    want: {
      answer: "ending2",
      question: "Cooking: A man heats oil. he",
      choices: ["flies.", "adds salt.", "sings.", "rusts."],
    },
  },
  winogrande: {
    rows: [{ sentence: "Ann thanked Bo because _ had helped.", option1: "Ann", option2: "Bo", answer: "2" }],
    want: { answer: "option2", choices: ["Ann", "Bo"] },
  },
  arc_easy: science,
  arc_challenge: {
    ...science,
    rows: [
      {
        ...science.rows[0]!,
        question: {
          stem: "What is cold?",
          choices: [
            { text: "fire", label: "1" },
            { text: "ice", label: "2" },
          ],
        },
        answerKey: "2",
      },
    ],
  },
  openbookqa: science,
};

for (const [name, { rows, want, beside }] of Object.entries(published)) {
  test(`${name}: the published form and LLM-Adapters' are the same docs`, async () => {
    const path = written(`${name}/dev.jsonl`, jsonl(rows), beside);
    const [doc] = await read(name, path);
    expect(doc).toMatchObject(want);
    // What LLM-Adapters would have in its file reads to the same doc.
    const { instruction, input, output, answer } = doc as Record<string, string>;
    const [again] = await read(name, written("test.json", JSON.stringify([{ instruction, input, output, answer }])));
    const { passage: _, ...rest } = doc as Record<string, unknown>;
    expect(again).toEqual(rest);
  });
}

test("what is wrong with a row is named with its place", async () => {
  const cases: [string, object, string][] = [
    ["gsm8k", { question: "q", answer: "no number" }, '"####"'],
    ["gsm8k", { instruction: " ", answer: "1" }, 'field "instruction"'],
    ["gsm8k", { instruction: "q" }, 'field "answer" is missing'],
    ["gsm8k", { instruction: "q", answer: {} }, 'field "answer"'],
    ["gsm8k", { nothing: 1 }, "has the fields nothing"],
    ["svamp", { Body: "b", Question: "q", Answer: "many" }, "no number"],
    ["aqua", { instruction: "no options", answer: "A" }, "Answer Choices"],
    ["mathqa", { instruction: "q The options: A ) 1 , B ) 2", answer: "A" }, "five options"],
    ["boolq", { instruction: "Is it?\n\nAnswer format: true/false", answer: "yes" }, "neither true nor false"],
    [
      "arc_easy",
      { instruction: "q\n\nAnswer1: a\n\nAnswer format: answer1/answer2", answer: "answer1" },
      "does not list",
    ],
    ["arc_easy", { instruction: "no format", answer: "answer1" }, "answer format"],
    ["arc_easy", { instruction: ownRows.arc_easy!.rows[0]!.instruction, answer: "answer9" }, '"answer9"'],
    ["piqa", { goal: "g", sol1: "a", sol2: "b" }, "-labels.lst"],
    ["hellaswag", { activity_label: "a", ctx: "c", endings: ["1", "2", "3", "4"], label: 4 }, "label 4"],
    ["winogrande", { sentence: "s", option1: "a", option2: "b", answer: "" }, "label"],
    [
      "openbookqa",
      {
        question: {
          stem: "s",
          choices: [
            { text: "a", label: "A" },
            { text: "b", label: "B" },
          ],
        },
        answerKey: "C",
      },
      '"C"',
    ],
    ["humaneval", { task_id: "x" }, '"prompt"'],
    ["mt_bench", { question_id: 1, category: "math", turns: ["one"] }, '"turns"'],
  ];
  const good = (name: string) => ownRows[name]?.rows[0];
  for (const [name, row, said] of cases) {
    const before = good(name);
    const path = written("rows.jsonl", jsonl(before ? [before, row] : [row]));
    const error = await read(name, path).then(
      () => "no error",
      (reason: Error) => reason,
    );
    expect(error).toMatchObject({ name: "DataError" });
    expect((error as Error).message).toContain(said);
    expect((error as Error).message).toContain(`${path}: line ${before ? 2 : 1}`);
  }
  const path = written("rows.json", JSON.stringify([[1]]));
  await expect(read("gsm8k", path)).rejects.toThrow("must be an object");
});

test("GLUE's tables are read by their heads, and by place where they have none", async () => {
  const cases: [string, string, object][] = [
    ["sst2", "sentence\tlabel\na fine film \t1\n", { sentence1: "a fine film ", label: "1" }],
    ["cola", "gj04\t0\t*\tThem is here.\n", { sentence1: "Them is here.", label: "0" }],
    [
      "mrpc",
      'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tHe said "yes\tHe agreed.\r\n',
      { sentence1: 'He said "yes', sentence2: "He agreed.", label: "1" },
    ],
    [
      "stsb",
      "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n0\ta\tb\tc\td\te\tf\tA cat.\tA dog.\t2.500\n",
      { sentence1: "A cat.", label: "2.500" },
    ],
    [
      "qnli",
      "index\tquestion\tsentence\tlabel\n0\tWho?\tAnn.\tentailment\n",
      { sentence1: "Who?", sentence2: "Ann.", label: "entailment" },
    ],
  ];
  for (const [name, text, want] of cases) expect((await read(name, written("dev.tsv", text)))[0]).toMatchObject(want);
  await expect(read("sst2", written("dev.tsv", "text\tlabel\na\t1\n"))).rejects.toThrow(
    'dev.tsv: line 1: there is no column "sentence"',
  );
  await expect(read("sst2", written("dev.tsv", "sentence\tlabel\nonly one\n"))).rejects.toThrow(
    'dev.tsv: line 2: field "label" is missing; it is cell 2, the line has 1',
  );
  await expect(read("sst2", written("dev.tsv", "sentence\tlabel\n"))).rejects.toThrow("has no rows");
});

test("whatever bytes a file has, it is docs or an error that names the file", async () => {
  const random = new Random(5);
  for (const [name, { rows, beside }] of Object.entries(published)) {
    const bytes = Buffer.from(jsonl([...rows, ...(ownRows[name]?.rows ?? [])]));
    for (let round = 0; round < 40; round++) {
      const damaged = Buffer.from(bytes);
      for (let n = 1 + random.int(4); n > 0; n--) damaged[random.int(damaged.length)] = random.int(256);
      const path = written(`${name}/dev.jsonl`, "", beside);
      writeFileSync(path, random.uniform() < 0.3 ? damaged.subarray(0, random.int(damaged.length)) : damaged);
      try {
        await read(name, path);
      } catch (error) {
        expect((error as Error).name).toBe("DataError");
        expect((error as Error).message).toContain(path);
      }
    }
  }
});

test("every data set is named as it is registered, and says where it is from", () => {
  for (const [name, { name: own, citation, licence, rows, files }] of Object.entries(datasets)) {
    expect(own).toBe(name);
    expect(citation.length).toBeGreaterThan(3);
    expect(licence).not.toBe("");
    expect(rows).toBeGreaterThan(0);
    expect(files.test?.length).toBeGreaterThan(0);
  }
  expect(() => datasetFor("hellaswagg")).toThrow("did you mean hellaswag");
});
