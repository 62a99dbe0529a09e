/** What the published forms have that a plain row does not show, and fuzzing of the readers that are not LLM-Adapters'. */
import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type ChoiceDoc, datasetFor, findDataset, hasDataset } from "../src/index.ts";

function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), "forms-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}
const lines = (...rows: readonly object[]): string => rows.map((row) => JSON.stringify(row)).join("\n");
const readOne = async (name: string, row: object): Promise<ChoiceDoc> =>
  (await datasetFor(name).read(join(folderOf({ "rows.jsonl": lines(row) }), "rows.jsonl")))[0] as ChoiceDoc;

test("aqua: blanks come around every bracket, as in LLM-Adapters' rows, and go again", async () => {
  const row = {
    question: " Which is it? ",
    options: ["A)1/(x+1)", "B)(2,3)", "C) 5 (about)", "D)D/(M-3)", "E)None"],
    rationale: "Look.",
    correct: "D",
  };
  const doc = await readOne("aqua", row);
  expect(doc.instruction).toBe(
    "Which is it? Answer Choices: (A) 1/ (x+1)  (B)  (2,3)  (C)  5  (about)  (D) D/ (M-3)  (E) None",
  );
  expect(doc.choices).toEqual(["1/(x+1)", "(2,3)", "5 (about)", "D/(M-3)", "None"]);
  expect(doc.output).toBe("Look.\nThe answer is (D).");
  expect((await readOne("aqua", { ...row, rationale: "" })).output).toBe("");
});

test("mathqa: letters a to f become capitals everywhere in the options, and the choices are what they were", async () => {
  const row = {
    Problem: "how many feet ?",
    options: "a ) 0 feet , b ) one half , c ) 2 , d ) 3 , e ) none of these",
    correct: "b",
  };
  const doc = await readOne("mathqa", row);
  expect(doc.instruction).toBe(
    "how many feet ? The options: A ) 0 FEEt , B ) onE hAlF , C ) 2 , D ) 3 , E ) nonE oF thEsE",
  );
  expect(doc.choices).toEqual(["0 feet", "one half", "2", "3", "none of these"]);
  const printed = await readOne("mathqa", {
    ...row,
    options: `['a ) 1 : 2', "b ) it's 3", 'c ) 4', 'd ) 5', 'e ) 6']`,
  });
  expect(printed.choices).toEqual(["1 : 2", "it's 3", "4", "5", "6"]);
});

test("svamp: a body that has its full stop gets no second one; addsub: solutions that are text stay as they are", async () => {
  const asked = async (Body: string) =>
    (await readOne("svamp", { Body, Question: "How many?", Answer: 3 })).instruction;
  expect(await asked("Ann has 3 cups. ")).toBe("Ann has 3 cups. How many?");
  expect(await asked("If Ann has 3 cups")).toBe("If Ann has 3 cups. How many?");
  const solved = async (value: unknown) => (await readOne("addsub", { sQuestion: " q ", lSolutions: [value] })).answer;
  expect([await solved("43"), await solved(43), await solved(0.1), await solved(-2)]).toEqual([
    "43",
    "43.0",
    "0.1",
    "-2.0",
  ]);
  await expect(solved("")).rejects.toThrow('the answer "" is no number');
  await expect(solved("0x10")).rejects.toThrow("no number");
});

test("piqa: blanks inside solutions stay; hellaswag: WikiHow's marks stay", async () => {
  const piqa = await readOne("piqa", { goal: "dresser", sol1: "a pin ", sol2: " a nail", label: 0 });
  expect(piqa.choices).toEqual(["a pin ", " a nail"]);
  const { choices: _, labels: __, question: ___, ...row } = piqa;
  expect(await readOne("piqa", row)).toEqual(piqa);
  const hellaswag = await readOne("hellaswag", {
    activity_label: "Travel",
    ctx: "[header] How to leave [title] Pack.",
    endings: ["a [step] b", "c", "d", "e"],
    label: "0",
  });
  expect(hellaswag.question).toBe("Travel: [header] How to leave [title] Pack.");
  expect(hellaswag.choices[0]).toBe("a [step] b");
});

test("the list of answers is read from the end: a question may speak of Answer1", async () => {
  const doc = await readOne("arc_easy", {
    instruction:
      "Please choose the correct answer to the question: Is Answer1: or Answer2: right?\n\nAnswer1: the first Answer2: the second\n\nAnswer format: answer1/answer2",
    answer: "answer2",
  });
  expect(doc.question).toBe("Is Answer1: or Answer2: right?");
  expect(doc.choices).toEqual(["the first", "the second"]);
});

test("labels of hidden test sets are an error, not the first choice", async () => {
  const hellaswag = { activity_label: "a", ctx: "b", endings: ["1", "2", "3", "4"] };
  for (const label of ["", -1, 4, "x", 0.5])
    await expect(readOne("hellaswag", { ...hellaswag, label })).rejects.toThrow("is none from 0 to 3");
  await expect(readOne("hellaswag", hellaswag)).rejects.toThrow('row 1: field "label" is missing');
  await expect(readOne("piqa", { goal: "g", sol1: "a", sol2: "b", label: "" })).rejects.toThrow("is none from 0 to 1");
  const short = folderOf({
    "dev.jsonl": lines({ goal: "g", sol1: "a", sol2: "b" }, { goal: "h", sol1: "a", sol2: "b" }),
    "dev-labels.lst": "1\n",
  });
  await expect(datasetFor("piqa").read(join(short, "dev.jsonl"))).rejects.toThrow(
    /row 2: .*dev-labels\.lst has no label in line 2/,
  );
});

test("mt_bench: GPT-4's answers take the place of a question's own reference, in both layouts", async () => {
  const question = (id: number, more: object = {}) => ({
    question_id: id,
    category: "math",
    turns: ["a", "b"],
    ...more,
  });
  const own = [
    question(1, { reference: ["own 1", "own 2"] }),
    question(2, { reference: ["kept 1", "kept 2"] }),
    question(3),
  ];
  const answers = lines({ question_id: 1, model_id: "gpt-4", choices: [{ index: 0, turns: ["gpt 1", "gpt 2"] }] });
  for (const file of ["reference_answer_gpt-4.jsonl", "reference_answer/gpt-4.jsonl"]) {
    const folder = folderOf({ "question.jsonl": lines(...own), [file]: answers });
    const docs = await datasetFor("mt_bench").read(join(folder, "question.jsonl"));
    expect(docs.map(({ reference }) => reference)).toEqual([["gpt 1", "gpt 2"], ["kept 1", "kept 2"], undefined]);
  }
  const folder = folderOf({
    "question.jsonl": lines(...own),
    "reference_answer_gpt-4.jsonl": lines({ question_id: 1 }),
  });
  await expect(datasetFor("mt_bench").read(join(folder, "question.jsonl"))).rejects.toThrow(
    /gpt-4\.jsonl: line 1: row 1: field "choices" is missing/,
  );
});

/** Two rows of each of GLUE's tables, as its archives lay them out. */
const tables: Readonly<Record<string, readonly string[]>> = {
  sst2: ["sentence\tlabel", "fine , really \t1", "dull \t0"],
  cola: ["gj04\t1\t\tHe left.", "gj04\t0\t*\tLeft he did he."],
  mrpc: [
    "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    '1\t11\t12\tHe "left.\tHe went.',
    "0\t13\t14\tIt rose.\tIt fell.",
  ],
  qqp: ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "7\t1\t2\tWhy?\tHow come?\t1", "8\t3\t4\tWho?\tWhen?\t0"],
  stsb: [
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
    "0\tnews\tx\t2012\t1\tnone\tnone\tA cat.\tA dog.\t1.250",
    "1\tnews\tx\t2012\t2\tnone\tnone\tA cat.\tOne cat.\t5.000",
  ],
  mnli: [
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
    "0\t1\t1n\ttravel\t(\t(\t(\t(\tIt rains.\tIt is wet.\tentailment\tentailment",
    "1\t2\t2n\ttravel\t(\t(\t(\t(\tIt rains.\tIt is dry.\tneutral\tcontradiction",
  ],
  qnli: ["index\tquestion\tsentence\tlabel", "0\tWho?\tAnn.\tentailment", "1\tWhen?\tBo.\tnot_entailment"],
  rte: [
    "index\tsentence1\tsentence2\tlabel",
    "0\tIt rains.\tIt is wet.\tentailment",
    "1\tIt rains.\tBo sleeps.\tnot_entailment",
  ],
  wnli: [
    "index\tsentence1\tsentence2\tlabel",
    "0\tAnn saw Bo; she sat.\tBo sat.\t0",
    "1\tAnn saw Bo; she sat.\tAnn sat.\t1",
  ],
};
const firstLabels = {
  sst2: "1",
  cola: "1",
  mrpc: "1",
  qqp: "1",
  stsb: "1.250",
  mnli: "entailment",
  qnli: "entailment",
  rte: "entailment",
  wnli: "0",
};

test.each(Object.entries(tables))("%s: GLUE's table reads, with Windows' line ends too", async (name, rows) => {
  for (const end of ["\n", "\r\n"]) {
    const docs = await datasetFor(name).read(join(folderOf({ "dev.tsv": rows.join(end) + end }), "dev.tsv"));
    expect(docs.length).toBe(2);
    expect(docs[0]!.label).toBe(firstLabels[name as keyof typeof firstLabels]);
    expect("sentence2" in docs[0]!).toBe(name !== "sst2" && name !== "cola");
    for (const text of [docs[0]!.sentence1, docs[1]!.sentence2 ?? ""]) expect(text).not.toContain("\r");
  }
});

test("a label that a table may not have is named with its line", async () => {
  const path = join(folderOf({ "dev.tsv": "index\tquestion\tsentence\tlabel\n0\tq\ts\tmaybe\n" }), "dev.tsv");
  await expect(datasetFor("qnli").read(path)).rejects.toThrow(
    'dev.tsv: line 2: field "label" is "maybe"; it must be one of entailment, not_entailment',
  );
});

test("damaged files of every other form are docs or a DataError that names the file", async () => {
  const problem = {
    task_id: "HumanEval/0",
    prompt: "def f():\n",
    entry_point: "f",
    canonical_solution: "  return 1\n",
    test: "def check(c): pass",
  };
  const row = (instruction: string, answer: string) => ({ instruction, input: "", output: "", answer });
  const own: Readonly<Record<string, string>> = {
    ...Object.fromEntries(Object.entries(tables).map(([name, rows]) => [name, rows.join("\n")])),
    humaneval: lines(problem, problem),
    mt_bench: lines({ question_id: 1, category: "math", turns: ["a", "b"], reference: ["c", "d"] }),
    "micro-math": lines(row("Leo has 2 pens. How many?", "2")),
    "micro-common": lines(
      row("The cup is red. What follows? answer1: It is a red cup. answer2: It is a blue cup.", "answer1"),
      row("The cup is red. Is the cup red? Answer true or false.", "true"),
    ),
  };
  const random = new Random(11);
  const path = join(folderOf({}), "rows");
  let refused = 0;
  for (const [name, text] of Object.entries(own)) {
    for (let round = 0; round < 60; round++) {
      const bytes = Buffer.from(text);
      for (let n = 1 + random.int(4); n > 0; n--) bytes[random.int(bytes.length)] = random.int(256);
      writeFileSync(path, bytes.subarray(0, random.int(4) === 0 ? random.int(bytes.length) : bytes.length));
      try {
        expect((await datasetFor(name).read(path)).length).toBeGreaterThan(0);
      } catch (error) {
        expect(error, `${name}, round ${round}`).toMatchObject({ name: "DataError" });
        expect((error as Error).message).toStartWith(`${path}: `);
        refused++;
      }
    }
  }
  expect(refused).toBeGreaterThan(100);
});

test("files are found in the first folder that has one, under each of their names, plain or gzipped", () => {
  const dataset = datasetFor("gsm8k");
  const first = folderOf({ "gsm8k/test.jsonl": "" });
  const second = folderOf({ "llm-adapters/gsm8k/test.json.gz": "", "gsm8k/test.jsonl": "" });
  expect(findDataset(dataset, "test", [first, second])).toBe(join(first, "gsm8k/test.jsonl"));
  expect(findDataset(dataset, "test", [second, first])).toBe(join(second, "llm-adapters/gsm8k/test.json.gz"));
  expect(hasDataset(dataset, "train", [first, second])).toBe(false);
  expect(() => findDataset(dataset, "train", [first])).toThrow(
    `data set gsm8k: there is no train set; looked for train/gsm8k_train.json or gsm8k/train.json or gsm8k/train.jsonl (or with .gz) in ${first} or the llm-adapters folder below; \`graft datasets pull gsm8k\` fetches it, --data-dir names a folder that has it`,
  );
  expect(() => findDataset(dataset, "validation", [first])).toThrow("data set gsm8k has no validation set");
  expect(() => findDataset(datasetFor("micro-math"), "test", [first])).toThrow(/below; --data-dir names/);
});
