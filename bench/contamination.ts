/**
 * What looking for test questions in training data takes: `bun bench/contamination.ts TRAIN [TRAIN...] --test FILE [--test FILE...] [--rows N]`, prints JSON.
 * --rows: the rows of the files are repeated to so many, each time with other words of the files in place of a tenth of its words, as a larger file of the same kind would be.
 */
import { parseArgs } from "node:util";
import { Random } from "../packages/core/src/random/index.ts";
import {
  indexTraining,
  readQuestionFile,
  readTrainFiles,
  searchIndex,
  type TrainText,
} from "../packages/eval/src/contamination/index.ts";

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: { test: { type: "string", multiple: true, default: [] }, rows: { type: "string" } },
});

const read = performance.now();
const files = await readTrainFiles(positionals);
const sets = await Promise.all(args.test.map(async (name) => ({ name, questions: await readQuestionFile(name) })));
const readMs = performance.now() - read;
const train = args.rows === undefined ? files : [{ name: "repeated", texts: repeated(Number(args.rows)) }];

const begin = performance.now();
const index = await indexTraining(train);
const indexMs = performance.now() - begin;
const search = performance.now();
const reports = [];
for (const set of sets) reports.push(await searchIndex(index, set));
const searchMs = performance.now() - search;

console.log(
  JSON.stringify({
    rows: train.reduce((sum, { texts }) => sum + new Set(texts.map(({ row }) => row)).size, 0),
    texts: train.reduce((sum, { texts }) => sum + texts.length, 0),
    contentWords: index.words.length,
    questions: sets.reduce((sum, { questions }) => sum + questions.length, 0),
    found: reports.reduce((sum, { exact, near }) => sum + exact + near, 0),
    readMs: Math.round(readMs),
    indexMs: Math.round(indexMs),
    searchMs: Math.round(searchMs),
    peakMiB: Math.round(process.resourceUsage().maxRSS / (process.platform === "darwin" ? 2 ** 20 : 2 ** 10)),
  }),
);

function repeated(rows: number): TrainText[] {
  const random = new Random(1);
  const texts = files.flatMap((file) => file.texts);
  const words = texts.flatMap(({ text }) => text.split(" "));
  const byRow: TrainText[][] = [];
  for (const file of files) {
    const start = byRow.length;
    for (const text of file.texts) (byRow[start + text.row] ??= []).push(text);
  }
  return Array.from({ length: rows }, (_, row) =>
    byRow[row % byRow.length]!.map((text) => ({
      ...text,
      row,
      text:
        row < byRow.length
          ? text.text
          : text.text
              .split(" ")
              .map((word) => (random.uniform() < 0.1 ? words[random.int(words.length)]! : word))
              .join(" "),
    })),
  ).flat();
}
