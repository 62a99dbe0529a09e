/** Problems of our own for every data set of LLM-Adapters, in its wording. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

interface OwnRow {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
  readonly answer: string;
}
const row = (instruction: string, answer: string, output = ""): OwnRow => ({ instruction, input: "", output, answer });

const numbers = [
  row("Ida has 3 pears and buys 4 more. How many pears has Ida now?", "7.0", "\nA: 3 + 4 = 7. The answer is 7."),
  row(
    "A rope of 10 metres is cut into 4 equal parts. How long is a part?",
    "2.5",
    "\nA: 10 / 4 = 2.5. The answer is 2.5.",
  ),
  row("It was 4 degrees and fell by 7. How many degrees is it now?", "-3", "\nA: 4 - 7 = -3. The answer is -3."),
  row("Nine boxes hold 111 pens each. How many pens are there?", "999", ""),
  row("Tom had 9 eggs and broke 2. How many are left?", "7.0", ""),
];
const options = [
  row(
    "What is 2 + 3? Answer Choices: (A) 4 (B) 5 (C) 6 (D) 7 (E) 8",
    "B",
    "\nRationale: 2 + 3 = 5. The answer is (B).",
  ),
  row("What is 10 % of 50? Answer Choices: (A) 5 (B) 10 (C) 15 (D) 20 (E) 25", "A"),
  row("What is 3 * 3? Answer Choices: (A) 1 (B) 9 (C) 6 (D) 3 (E) 12", "B"),
];
const mathqaOptions = [
  row("what is 2 + 3 ? The options: A ) 4 , B ) 5 , C ) 6 , D ) 7 , E ) 8", "B"),
  row("what is 3 * 3 ? The options: A ) 1 , B ) 9 , C ) 6 , D ) 3 , E ) 12", "B"),
  row("what is 9 - 8 ? The options: A ) 1 , B ) 9 , C ) 6 , D ) 3 , E ) 12", "A"),
];
const choose = (question: string, word: string, choices: readonly string[], answer: number) => {
  const listed = choices.map((choice, i) => `${word[0]!.toUpperCase()}${word.slice(1)}${i + 1}: ${choice}`).join(" ");
  const format = choices.map((_, i) => `${word}${i + 1}`).join("/");
  return row(
    `Please choose the correct answer to the question: ${question}\n\n${listed}\n\nAnswer format: ${format}`,
    `${word}${answer}`,
    `the correct answer is ${word}${answer}`,
  );
};
const answers = [
  choose("What do bees make?", "answer", ["honey", "bread", "wine", "oil"], 1),
  choose("Where do fish live?", "answer", ["in sand", "in water", "in trees", "in clouds"], 2),
  choose("What is cold?", "answer", ["fire", "ice", "steam", "lava"], 2),
];
const social = [
  choose("Ann gave Bo her coat. How would Bo feel?", "answer", ["warm", "hungry", "angry"], 1),
  choose("Ann won the race. What will Ann do next?", "answer", ["cry", "celebrate", "sleep"], 2),
  choose("Ann lost a key. What does Ann need to do?", "answer", ["look for it", "eat", "sing"], 1),
];
const boolq = (question: string, answer: string) =>
  row(
    `Please answer the following question with true or false, question: ${question}?\n\nAnswer format: true/false`,
    answer,
    `the correct answer is ${answer}`,
  );
const piqa = (goal: string, first: string, second: string, answer: string) =>
  row(
    `Please choose the correct solution to the question: ${goal}\n\nSolution1: ${first}\n\nSolution2: ${second}\n\nAnswer format: solution1/solution2`,
    answer,
    `the correct answer is ${answer}`,
  );
const hellaswag = (context: string, endings: readonly string[], answer: number) =>
  row(
    `Please choose the correct ending to complete the given sentence: ${context}\n\n${endings.map((text, i) => `Ending${i + 1}: ${text}`).join(" ")}\n\nAnswer format: ending1/ending2/ending3/ending4`,
    `ending${answer}`,
    `the correct answer is ending${answer}`,
  );
const winogrande = (sentence: string, first: string, second: string, answer: number) =>
  row(
    `Please choose the correct answer to fill in the blank to complete the given sentence: ${sentence}\n\nOption1: ${first} Option2: ${second} Answer format: option1/option2`,
    `option${answer}`,
    `the correct answer is option${answer}`,
  );

/** By task: the file below a data folder, and its rows. */
export const ownRows: Readonly<Record<string, { readonly file: string; readonly rows: readonly OwnRow[] }>> = {
  gsm8k: { file: "gsm8k/test.json", rows: numbers },
  mawps: { file: "mawps/test.json", rows: numbers },
  svamp: { file: "SVAMP/test.json", rows: numbers },
  addsub: { file: "AddSub/test.json", rows: numbers },
  multiarith: { file: "MultiArith/test.json", rows: numbers },
  singleeq: { file: "SingleEq/test.json", rows: numbers },
  aqua: { file: "AQuA/test.json", rows: options },
  mathqa: { file: "mathqa/test.json", rows: mathqaOptions },
  boolq: {
    file: "boolq/test.json",
    rows: [boolq("is water wet", "true"), boolq("do stones swim", "false"), boolq("is snow white", "true")],
  },
  piqa: {
    file: "piqa/test.json",
    rows: [
      piqa("To cut bread", "use a knife", "use a spoon", "solution1"),
      piqa("To dry a shirt", "put it in water", "hang it in the sun", "solution2"),
      piqa("To open a jar", "sing to it", "turn the lid", "solution2"),
    ],
  },
  social_i_qa: { file: "social_i_qa/test.json", rows: social },
  hellaswag: {
    file: "hellaswag/test.json",
    rows: [
      hellaswag("Cooking: A man heats oil. he", ["flies away.", "adds the onions.", "paints it.", "reads it."], 2),
      hellaswag("Sailing: A boat leaves. it", ["sails out.", "barks.", "melts.", "sings."], 1),
      hellaswag("Running: A girl starts. she", ["is a car.", "runs fast.", "boils.", "rusts."], 2),
    ],
  },
  winogrande: {
    file: "winogrande/test.json",
    rows: [
      winogrande("The cup did not fit in the box because the _ was too small.", "cup", "box", 2),
      winogrande("Ann thanked Bo because _ had helped.", "Ann", "Bo", 2),
      winogrande("Ann fed the dog since _ was hungry.", "the dog", "Ann", 1),
    ],
  },
  arc_easy: { file: "ARC-Easy/test.json", rows: answers },
  arc_challenge: { file: "ARC-Challenge/test.json", rows: answers },
  openbookqa: { file: "openbookqa/test.json", rows: answers },
  "micro-math": {
    file: "micro-math-test.json",
    rows: [
      row(
        "Leo has 6 coins. Nina has 6 coins. How many coins do they have together?",
        "12",
        "They have 12 coins. The answer is 12.",
      ),
      row("Leo has 6 pens. Leo gives 2 away. How many pens has Leo?", "4", "Leo has 4 pens. The answer is 4."),
      row("Max has 2 pens and finds 2. How many pens has Max?", "4", "Max has 4 pens. The answer is 4."),
    ],
  },
  "micro-common": {
    file: "micro-common-test.json",
    rows: [
      row("The ball is green. Is the ball red? Answer true or false.", "false", "The correct answer is false."),
      row("The ball is blue. Is the ball blue? Answer true or false.", "true", "The correct answer is true."),
      row("The cup is red. Is the cup blue? Answer true or false.", "false", "The correct answer is false."),
    ],
  },
};

/** A folder with the file of one task, of these rows. */
export function folderWith(task: string, rows: readonly object[] = ownRows[task]!.rows): string {
  const folder = mkdtempSync(join(tmpdir(), "eval-"));
  const path = join(folder, ownRows[task]!.file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(rows));
  return folder;
}
