/** Test questions in training data, on sentences of our own. */
import { describe, expect, test } from "bun:test";
import { ConfigError, DataError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type ContaminationReport,
  findContamination,
  flagOf,
  flagsOf,
  indexTraining,
  percent,
  questionOfDoc,
  questionText,
  readQuestionFile,
  readTrainFile,
  readTrainFiles,
  rowTexts,
  searchIndex,
} from "../src/contamination/index.ts";
import { contentOf, keyOf, wordsOf } from "../src/contamination/words.ts";

const boats =
  "A harbour has 14 red boats and 9 blue boats. After the storm 6 boats are towed away. How many boats stay in the harbour?";
const bread =
  "Nadia bakes 12 loaves each morning and sells 7 of them before noon. How many loaves remain after 5 days of baking?";
const tide = "Which force makes the sea rise and fall twice a day along most coasts of the world?";

const find = (
  train: readonly string[],
  questions: readonly string[],
  threshold?: number,
): Promise<ContaminationReport> =>
  findContamination([{ name: "train.json", texts: train }], { name: "own", questions }, { threshold });
const kinds = async (train: readonly string[], question: string, threshold?: number) =>
  (await find(train, [question], threshold)).matches.map(({ kind, train: row }) => [row, kind]);

describe("exact", () => {
  test.each([
    ["case", boats.toUpperCase()],
    ["punctuation", boats.replaceAll(".", " ;").replace("?", "")],
    ["spacing", `\n ${boats.replaceAll(" ", "  \t").replaceAll(".", " .")}`],
    ["words run together", boats.replace("red boats", "redboats")],
    ["number words", boats.replace("6 boats", "six boats")],
    ["how numbers are written", boats.replace("14 red", "14.0 red").replace("9 blue", "09 blue")],
    ["full-width letters and digits", boats.replace("14", "１４").replace("harbour", "ｈａｒｂｏｕｒ")],
  ])("%s does not count", async (_, text) => {
    expect(await kinds([tide, text], boats)).toEqual([[1, "exact"]]);
  });

  test("a question inside a longer text is found, in a chat template and in a response", async () => {
    const wrapped = `Below is a task. Write a response.\n\n### Instruction:\n${boats}\n\n### Response:\nThere are 17 boats.`;
    expect(await kinds([bread, wrapped], boats)).toEqual([[1, "exact"]]);
    const answer = { row: 3, part: "answer", text: `You ask: ${boats} It is 17.`, choices: [] } as const;
    const report = await findContamination([{ name: "a", texts: [bread, answer] }], {
      name: "own",
      questions: [boats],
    });
    expect(report.matches).toEqual([{ test: 0, file: "a", train: 3, part: "answer", kind: "exact", similarity: 1 }]);
  });

  test("other alphabets, and scripts without blanks between words", async () => {
    const russian = "У Нины было 7 яблок, и она отдала 3 яблока брату. Сколько яблок осталось у Нины?";
    const chinese = "小王有十二本书，又买了五本新书，他现在一共有多少本书？";
    const thai = "แม่มีส้ม 8 ผล ให้ลูกไป 3 ผล แม่เหลือส้มกี่ผล";
    const train = [boats, russian.toUpperCase(), `问：${chinese} 答：`, thai.replaceAll(" ", "")];
    for (const [i, question] of [russian, chinese, thai].entries())
      expect(await kinds(train, question)).toEqual([[i + 1, "exact"]]);
    expect(await kinds(train, russian.replace("7", "9"))).toEqual([]);
    expect(wordsOf("Café au lait, naïve")).toEqual(["café", "au", "lait", "naïve"]);
    expect(wordsOf("cafe\u0301")).toEqual(wordsOf("caf\u00e9"));
  });
});

describe("near", () => {
  test.each([
    ["one word changed", boats.replace("storm", "gale")],
    ["one word left out", boats.replace("blue ", "")],
    ["one word more", boats.replace("towed", "quickly towed")],
    ["other function words", boats.replace("A harbour", "The harbour").replace("are towed", "were towed")],
  ])("%s", async (_, text) => {
    const report = await find([bread, text], [boats]);
    expect([report.exact, report.near]).toEqual([0, 1]);
    expect(report.matches[0]!.similarity).toBeGreaterThanOrEqual(0.9);
  });

  test("a question with another number, or another sign, is another question", async () => {
    for (const text of [
      boats.replace("14", "15"),
      boats.replace("6 boats", "boats"),
      boats.replace("red", "3 red"),
      boats.replace("9 blue", "-9 blue"),
      boats.replace("6 boats", "60 boats"),
      boats.replace("14", "9").replace("9 blue", "14 blue"),
    ])
      expect(await kinds([text], boats, 0.7)).toEqual([]);
  });

  test("similarity is the part of the content words that is kept, and the threshold decides on it", async () => {
    const text = boats.replace("storm", "gale").replace("towed", "pulled");
    const count = contentOf(wordsOf(boats)).length;
    const [match] = (await find([text], [boats], 0.8)).matches;
    expect(match!.similarity).toBeCloseTo(1 - 2 / count, 12);
    expect(await kinds([text], boats, 1 - 2 / count + 0.001)).toEqual([]);
  });

  test("a short question that shares a few words with a longer text is not in it, unless word for word", async () => {
    const short = "Is Lake Oren deeper than Lake Tuva?";
    expect(await kinds(["Lake Oren is deeper than Lake Tuva, as all the people of the valley know."], short)).toEqual(
      [],
    );
    expect(await kinds([`Answer with yes or no. ${short} Give a reason too.`], short)).toEqual([[0, "exact"]]);
    expect(await kinds([short.replace("Tuva", "Mira")], short)).toEqual([]);
    expect(await kinds([short.replace("Is", "Was")], short)).toEqual([[0, "near"]]);
    expect(await kinds(["Why is the sky blue over the hills?"], "the sky")).toEqual([]);
  });
});

describe("listed answers", () => {
  const instruction = (question: string, ...choices: string[]) =>
    `Please choose the correct answer to the question: ${question}\n\n${choices.map((c, i) => `Answer${i + 1}: ${c}`).join(" ")}\n\nAnswer format: ${choices.map((_, i) => `answer${i + 1}`).join("/")}`;
  const metal = "Which is a metal?";

  test("the sentences around a question make nothing similar", async () => {
    const train = [
      instruction("What do bees collect?", "nectar", "sand", "salt"),
      "Please answer the following question with true or false, question: do bees sleep?\n\nAnswer format: true/false",
    ];
    expect(await kinds(train, instruction("Where do herons nest?", "in trees", "in caves", "under ice"), 0.7)).toEqual(
      [],
    );
    expect(
      await kinds(
        train,
        "Please answer the following question with true or false, question: do bats hunt?\n\nAnswer format: true/false",
        0.7,
      ),
    ).toEqual([]);
  });

  test("their order and labels do not count, what they say does", async () => {
    const question = instruction(metal, "iron ore", "wet clay", "dry wood");
    expect(await kinds([instruction(metal, "dry wood", "iron ore", "wet clay")], question)).toEqual([[0, "exact"]]);
    expect(await kinds([`${metal} Answer Choices: (A) dry wood (B) iron ore (C) wet clay`], question)).toEqual([
      [0, "exact"],
    ]);
    expect(await kinds([`Question: ${metal}\nA. dry wood\nB. iron ore\nC. wet clay`], question)).toEqual([
      [0, "exact"],
    ]);
    expect(await kinds([instruction(metal, "zinc", "milk", "paper")], question, 0.7)).toEqual([]);
    expect(await kinds([metal], question, 0.7)).toEqual([]);
  });

  test("one other answer of several is near", async () => {
    const choices = ["the pull of the moon", "the spin of the wind", "the heat of summer", "the weight of fish"];
    const train = instruction(tide, ...choices.slice(0, 3), "swans");
    expect(await kinds([train], instruction(tide, ...choices), 0.8)).toEqual([[0, "near"]]);
  });

  test("a question that says enough is found without its list", async () => {
    expect(await kinds([`Q: ${tide} A: the moon`], instruction(tide, "gravity", "wind"))).toEqual([[0, "exact"]]);
  });
});

describe("counts", () => {
  test("a question that the test set has twice counts twice, a training row that is there twice once", async () => {
    const report = await find([boats, boats, bread], [boats, tide, boats, boats.replace("storm", "gale")]);
    expect(report).toMatchObject({ test: "own", questions: 4, exact: 2, near: 1, share: 0.75 });
    expect(report.matches.map(({ test: row, train }) => [row, train])).toEqual([
      [0, 0],
      [2, 0],
      [3, 0],
    ]);
  });

  test("the better match of a file counts, and each file for itself", async () => {
    const files = [
      { name: "a.json", sha256: "aa", texts: [boats.replace("storm", "gale"), boats] },
      { name: "b.json", texts: [bread, boats.replace("storm", "flood")] },
    ];
    const report = await findContamination(files, { name: "own", questions: [boats, bread, tide] });
    expect(report).toMatchObject({ exact: 2, near: 0, share: 2 / 3 });
    expect(report.files).toEqual([
      { file: "a.json", sha256: "aa", test: "own", questions: 3, threshold: 0.9, exact: 1, near: 0, share: 1 / 3 },
      { file: "b.json", sha256: null, test: "own", questions: 3, threshold: 0.9, exact: 1, near: 1, share: 2 / 3 },
    ]);
    expect(flagsOf(report)).toEqual([
      "33 % of these questions are in a.json (1 exact)",
      "67 % of these questions are in b.json (1 exact, 1 near)",
    ]);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  test("a clean file has no flag, and a share is never rounded to nothing or all", () => {
    const summary = { file: "m.json", sha256: null, test: "t", questions: 1319, threshold: 0.9 };
    expect(flagOf({ ...summary, exact: 0, near: 0, share: 0 })).toBeUndefined();
    expect(flagOf({ ...summary, exact: 1055, near: 12, share: 1067 / 1319 })).toBe(
      "81 % of these questions are in m.json (1055 exact, 12 near)",
    );
    expect([0, 0.0001, 0.034, 0.996, 1].map(percent)).toEqual(["0 %", "under 0.1 %", "3.4 %", "over 99 %", "100 %"]);
  });

  test("nothing to find, and nothing to look in", async () => {
    expect(await find([], [boats])).toMatchObject({ questions: 1, exact: 0, near: 0, share: 0 });
    expect(await find(["", " \n", "?!"], ["", "...", boats])).toMatchObject({ questions: 3, exact: 0, near: 0 });
    expect(await find([boats], [])).toMatchObject({ questions: 0, exact: 0, share: 0 });
  });

  test("a text of a million words is searched as any other", async () => {
    const random = new Random(3);
    const words = Array.from({ length: 1_000_000 }, () => `w${random.int(3000)}`);
    words.splice(700_000, 0, ...boats.replace("storm", "gale").split(" "));
    const report = await find([words.join(" "), bread], [boats, bread, tide]);
    expect(report.matches.map(({ test: row, train, kind }) => [row, train, kind])).toEqual([
      [0, 0, "near"],
      [1, 1, "exact"],
    ]);
    expect(await find([boats], [words.join(" ")])).toMatchObject({ exact: 0, near: 0 });
  });
});

describe("every duplicate is found", () => {
  const random = new Random(2026);
  const vocabulary = Array.from({ length: 60 }, (_, i) =>
    i < 6 ? `${i + 2}` : `word${String.fromCharCode(97 + (i % 26))}${"xyz"[i % 3]}`,
  );
  const sentence = (length: number): string[] =>
    Array.from({ length }, () => vocabulary[random.int(vocabulary.length)]!);

  test("every planted copy, and the order of the training rows changes nothing", async () => {
    const questions = Array.from({ length: 200 }, () => sentence(4 + random.int(40)).join(" "));
    const train = [
      ...questions.map((question, i) =>
        i % 3 === 0 ? question : i % 3 === 1 ? `so: ${question}!` : `${sentence(9).join(" ")} ${question}`,
      ),
      ...Array.from({ length: 300 }, () => sentence(4 + random.int(40)).join(" ")),
    ];
    const counts = ({ exact, near, matches }: ContaminationReport) => ({
      exact,
      near,
      matches: matches.map(({ test: row, kind, similarity }) => ({ row, kind, similarity })),
    });
    const first = await find(train, questions, 0.7);
    expect(first.exact).toBe(questions.length);
    for (let i = 0; i < 3; i++)
      expect(counts(await find(random.shuffle([...train]), questions, 0.7))).toEqual(counts(first));
  });

  test("what the index finds is what comparing all pairs finds", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const threshold = [0.7, 0.75, 0.8, 0.9][seed % 4]!;
      const questions = Array.from({ length: 25 }, () => sentence(8 + random.int(25)));
      const train = questions.map((question) => {
        const text = [...question];
        for (let edits = random.int(7); edits > 0; edits--)
          text.splice(random.int(text.length), random.int(2), ...sentence(random.int(2)));
        return [...sentence(random.int(12)), ...text, ...sentence(random.int(12))];
      });
      const index = await indexTraining([{ name: "t", texts: train.map((words) => words.join(" ")) }]);
      const report = await searchIndex(
        index,
        { name: "q", questions: questions.map((words) => words.join(" ")) },
        { threshold },
      );
      const found = new Map(report.matches.map(({ test: row, similarity }) => [row, similarity]));
      for (const [row, question] of questions.entries()) {
        const best = Math.max(...train.map((text) => 1 - fewestEdits(question, text) / question.length));
        expect({ seed, row, similarity: found.get(row) ?? 0 }).toEqual({
          seed,
          row,
          similarity: best >= threshold - 1e-9 ? expect.closeTo(best, 9) : 0,
        });
      }
    }
  });

  /** By the definition: the least over all runs of the text's words, a number never edited. */
  function fewestEdits(question: readonly string[], text: readonly string[]): number {
    const price = (word: string): number => (/^\d/.test(word) ? 1e6 : 1);
    let row = Array.from({ length: text.length + 1 }, () => 0);
    for (const word of question) {
      const next = [row[0]! + price(word)];
      for (const [j, other] of text.entries())
        next.push(
          Math.min(
            row[j]! + (word === other ? 0 : Math.max(price(word), price(other))),
            row[j + 1]! + price(word),
            next[j]! + price(other),
          ),
        );
      row = next;
    }
    return Math.min(...row);
  }
});

describe("words", () => {
  test.each([
    ["1,000.50 apples", ["1000.5", "apples"]],
    ["$.5 and 0.50", ["0.5", "and", "0.5"]],
    ["2,3 or 1,00", ["2", "3", "or", "1", "0"]],
    ["35-ounce, 10 - 4 = 6", ["35", "ounce", "10", "-", "4", "=", "6"]],
    ["100,200,300,400,500,600,700,800", ["100", "200", "300", "400", "500", "600", "700", "800"]],
    ["a wall — 3 m high, 5–6 m long", ["a", "wall", "3", "m", "high", "5", "-", "6", "m", "long"]],
    ["½ × −3", ["1", "/", "2", "*", "-", "3"]],
    ["the constructor of __proto__", ["the", "constructor", "of", "proto"]],
    ["twenty and one", ["20", "and", "one"]],
    ["", []],
  ])("%j", (text, words) => {
    expect(wordsOf(text)).toEqual(words);
  });

  test("a key keeps numbers apart and nothing else", () => {
    expect(keyOf(wordsOf("Mary 's 1 2"))).toBe(keyOf(wordsOf("Mary's 1 2")));
    expect(keyOf(wordsOf("1 2"))).not.toBe(keyOf(wordsOf("12")));
  });
});

describe("question text", () => {
  test.each([
    ["How far is it? Answer Choices: (A) 3 km (B) 5 km", "How far is it?", ["3 km", "5 km"]],
    ["how far ? The options: A ) 3 , B ) 5", "how far ?", ["3 ,", "5"]],
    [
      "Fill it: the _ fell.\n\nOption1: cup Option2: jar Answer format: option1/option2",
      "Fill it: the _ fell.",
      ["cup", "jar"],
    ],
    ["Which?\n1. red\n2. green", "Which?", ["red", "green"]],
    ["He has 1. She has 2. How many?", "He has 1. She has 2. How many?", []],
    ["(A) first (B) second", "(A) first (B) second", []],
    ["Vitamin B) is rare", "Vitamin B) is rare", []],
    ["", "", []],
  ])("%j", (text, question, choices) => {
    expect(questionText(text)).toEqual({ text: question, choices });
  });

  test("no text makes it throw, hang or lose words", () => {
    const random = new Random(5);
    const parts = [
      "A)",
      "(B)",
      "1.",
      "\n",
      "Answer1:",
      "Answer format:",
      "options:",
      "Please choose",
      ":",
      "  ",
      "é",
      "𝟙",
      "ยา",
      "x",
      "\u0000",
      "\ud800",
    ];
    for (let i = 0; i < 3000; i++) {
      const text = Array.from({ length: random.int(30) }, () => parts[random.int(parts.length)]!).join(
        random.int(2) ? " " : "",
      );
      const parsed = questionText(text);
      expect(parsed.choices.length).not.toBe(1);
      for (const part of [parsed.text, ...parsed.choices]) expect(text).toContain(part);
      expect(wordsOf(text).every((word) => word !== "")).toBe(true);
    }
    expect(questionText(" ".repeat(2_000_000)).text).toBe("");
    expect(questionText(`${"A) ".repeat(200_000)}`).choices).toEqual([]);
  });
});

describe("rows", () => {
  const question = (text: string, choices: readonly string[] = []) => ({ text, choices, part: "question" });
  const answer = (text: string) => ({ text, choices: [], part: "answer" });

  test.each([
    [
      { instruction: "Add.", input: "2 + 3", output: "5", answer: "5.0" },
      [question("Add.\n2 + 3"), answer("5"), answer("5.0")],
    ],
    [{ original_text: "How many?", ans: 2 }, [question("How many?")]],
    [{ question: "How many?", answer: "4" }, [question("How many?"), answer("4")]],
    [{ Body: "Ann has 3.", Question: "How many?" }, [question("Ann has 3.\nHow many?")]],
    [{ prompt: "Say it", completion: "it" }, [question("Say it"), answer("it")]],
    [
      { prompt: [{ role: "user", content: "Say it" }], chosen: [{ role: "assistant", content: "it" }] },
      [question("Say it"), answer("it")],
    ],
    [
      {
        messages: [
          { role: "system", content: "Be kind." },
          { role: "user", content: [{ type: "text", text: "Hi" }] },
          { role: "assistant", content: "Hello" },
        ],
      },
      [question("Be kind."), question("Hi"), answer("Hello")],
    ],
    [
      {
        conversations: [
          { from: "human", value: "Hi" },
          { from: "gpt", value: "Hello" },
        ],
      },
      [question("Hi"), answer("Hello")],
    ],
    [{ turns: ["One?", "Two?"] }, [question("One?"), question("Two?")]],
    [
      {
        question: {
          stem: "Which?",
          choices: [
            { text: "a cat", label: "A" },
            { text: "a dog", label: "B" },
          ],
        },
      },
      [question("Which?", ["a cat", "a dog"])],
    ],
    [
      { question: "Which?", choices: { text: ["a cat", "a dog"], label: ["A", "B"] } },
      [question("Which?", ["a cat", "a dog"])],
    ],
    [{ question: "Which?", options: ["A)21", "B)22"] }, [question("Which?", ["21", "22"])]],
    [{ goal: "Clean a pan", sol1: "use sand", sol2: "use oil" }, [question("Clean a pan", ["use sand", "use oil"])]],
    [{ instruction: "Is it?", question: "Is it?", choices: ["true", "false"] }, [question("Is it?")]],
    ["Only text", [question("Only text")]],
  ])("%j", (row, texts) => {
    expect(rowTexts(row) as unknown).toEqual(texts);
  });

  test("what has no question is none, and never makes it throw", () => {
    const random = new Random(9);
    const values = [
      undefined,
      null,
      3,
      true,
      "",
      "text",
      [],
      ["a"],
      {},
      { text: 1 },
      { stem: 2 },
      [{ role: 1 }],
      [{ content: [null] }],
      [[]],
    ];
    const names = [
      "instruction",
      "input",
      "question",
      "prompt",
      "messages",
      "turns",
      "choices",
      "options",
      "answer",
      "output",
      "ctx",
      "option1",
      "__proto__",
    ];
    for (let i = 0; i < 3000; i++) {
      const row = Object.fromEntries(
        Array.from({ length: random.int(5) }, () => [
          names[random.int(names.length)],
          values[random.int(values.length)],
        ]),
      );
      for (const { text, choices } of rowTexts(row) ?? [])
        expect([typeof text, ...choices.map((c) => typeof c)]).not.toContain("undefined");
    }
    expect([3, null, [], { equation: "x=2" }, { question: 4 }].map((row) => rowTexts(row))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(() => questionOfDoc({ x: 1 }, "own: row 1")).toThrow(
      "own: row 1: has no question; it stands in one of messages,",
    );
  });
});

describe("files", () => {
  const folder = mkdtempSync(join(tmpdir(), "contamination-"));
  const write = (name: string, text: string | Uint8Array): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const lines = [{ instruction: boats, output: "17" }, { messages: [{ role: "user", content: bread }] }]
    .map((row) => JSON.stringify(row))
    .join("\n");

  test("JSON, JSON Lines and gzip, with the file's hash", async () => {
    const plain = await readTrainFile(write("a.jsonl", lines));
    expect(plain).toMatchObject({
      name: "a.jsonl",
      sha256: new Bun.CryptoHasher("sha256").update(lines).digest("hex"),
    });
    expect(plain.texts.map(({ row, part }) => [row, part])).toEqual([
      [0, "question"],
      [0, "answer"],
      [1, "question"],
    ]);
    const zipped = await readTrainFile(write("b.json.gz", Bun.gzipSync(`[${lines.replace("\n", ",")}]`)), {
      answers: false,
    });
    expect(zipped.texts.map(({ text }) => text)).toEqual([boats, bread]);
    expect(await readQuestionFile(join(folder, "a.jsonl"))).toMatchObject([{ text: boats }, { text: bread }]);
  });

  test("fields by name, and files of one name called by their paths", async () => {
    const path = write("c.jsonl", JSON.stringify({ riddle: boats, output: bread }));
    expect(await readTrainFile(path, { fields: ["riddle"] })).toMatchObject({
      texts: [{ text: boats }, { text: bread, part: "answer" }],
    });
    expect((await readTrainFiles([path, path], { fields: ["riddle"] })).map(({ name }) => name)).toEqual([path, path]);
    expect(
      (await readTrainFiles([path, write("d.jsonl", lines)], { fields: ["riddle", "instruction", "messages"] }).catch(
        (e: Error) => e.message,
      )) as unknown,
    ).toContain(
      "d.jsonl: line 2: row 2: has no question: the row has the fields messages; a question is a text in one of riddle, instruction, messages",
    );
  });

  test("errors say where, what was given and what to do", async () => {
    const bad = readTrainFile(write("bad.jsonl", `${lines}\n{"equation":"x=2"}`));
    await expect(bad).rejects.toThrow(DataError);
    await expect(bad).rejects.toThrow(
      "bad.jsonl: line 3: row 3: has no question: the row has the fields equation; a question is a text in one of messages, ",
    );
    await expect(readTrainFile(join(folder, "none.json"))).rejects.toThrow("none.json: no such file");
    await expect(
      readQuestionFile(write("e.jsonl", '{"messages":[{"role":"assistant","content":"x"}]}')),
    ).rejects.toThrow("e.jsonl: row 1: has no question");
    await expect(find([boats], [boats], 0.69)).rejects.toThrow(
      new ConfigError("threshold: must be from 0.7 to 1, got 0.69"),
    );
    await expect(find([boats], [boats], Number.NaN)).rejects.toThrow(ConfigError);
    const twice = [
      { name: "a", texts: [boats] },
      { name: "a", texts: [bread] },
    ];
    await expect(indexTraining(twice)).rejects.toThrow(
      "training files: two are called a; each needs a name of its own",
    );
  });

  test("progress ends at the end, and an aborted search stops", async () => {
    const seen: number[][] = [];
    const index = await indexTraining([{ name: "a", texts: [boats, bread] }], { onProgress: (...at) => seen.push(at) });
    await searchIndex(index, { name: "own", questions: [boats] }, { onProgress: (...at) => seen.push(at) });
    expect(seen).toEqual([
      [1, 2],
      [2, 2],
      [1, 1],
    ]);
    const many = { name: "a", texts: Array.from({ length: 200_000 }, (_, i) => `${boats} ${i}`) };
    await expect(indexTraining([many], { signal: AbortSignal.abort() })).rejects.toThrow("aborted");
  });
});
