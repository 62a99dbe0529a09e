import { writeFileAtomic } from "@graft/core/io";
import {
  type ContaminationReport,
  DEFAULT_THRESHOLD,
  findDataset,
  flagsOf,
  hasDataset,
  indexTraining,
  LOWEST_THRESHOLD,
  percent,
  questionOfDoc,
  type QuestionText,
  readQuestionFile,
  type ReadTrainFile,
  readTrainFiles,
  searchIndex,
} from "@graft/eval";
import { basename } from "node:path";
import { z } from "zod";
import { defineCommand, UsageError } from "../../command.ts";
import { chosenTasks, taskGroups } from "../../eval/chosen-tasks.ts";
import { dataDirsOf } from "../../eval/data-dirs.ts";
import { counter } from "../../progress.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "datasets check",
  summary: "find test questions in training data",
  description:
    "Looks for the questions of test sets in training files: exact duplicates (case, punctuation, spacing and the order of listed answers do not count) and near ones (some words differ, no number does). Exit code 0 if there are none, 1 if there are.",
  positional: {
    syntax: "<train...>",
    description:
      "files of rows, .json or .jsonl, plain or gzipped: instruction rows, chat messages, prompt and completion",
  },
  examples: [
    "graft datasets check math_data.json --data-dir DIR",
    "graft datasets check train.jsonl more.jsonl --tasks gsm8k,svamp --data-dir DIR --show 3",
    "graft datasets check chat.jsonl --tasks ./my-questions.jsonl --json",
  ],
  options: z.object({
    tasks: z
      .array(z.string())
      .default(["all"])
      .describe("test sets: names, groups (arithmetic, commonsense, ...), all, or files of questions"),
    dataDir: z.array(z.string()).default([]).describe("folders with the tasks' files, such as gsm8k/test.json"),
    threshold: z
      .number()
      .min(LOWEST_THRESHOLD, `must be at least ${LOWEST_THRESHOLD}`)
      .max(1, "must be at most 1")
      .default(DEFAULT_THRESHOLD)
      .describe("part of a question's words that a near duplicate has"),
    field: z
      .array(z.string())
      .default([])
      .describe("fields of the training rows that hold questions, if they are not found"),
    answers: z.boolean().default(true).describe("look at responses too, which may repeat a question"),
    show: z
      .int()
      .min(0, "must be at least 0")
      .default(0)
      .describe("pairs to print of each test set, the least similar first"),
    output: z.string().optional().describe("file for the whole report, as JSON"),
    json: z.boolean().default(false).describe("print the whole report as JSON"),
  }),
  async run(o, { positionals, print, log, signal }) {
    const { sets, missing } = await testSets(o.tasks, dataDirsOf(o.dataDir));
    for (const { error } of missing) log(`not searched for: ${error}`);
    const files = await readTrainFiles([...new Set(positionals)], { fields: o.field, answers: o.answers });
    const index = await indexTraining(files, {
      signal,
      onProgress: counter("reading: text", log, { isPassing: true }),
    });
    const reports: ContaminationReport[] = [];
    for (const set of sets) {
      const onProgress = counter(`${set.name}: question`, log, { isPassing: true });
      reports.push(await searchIndex(index, set, { threshold: o.threshold, signal, onProgress }));
    }
    const report = JSON.stringify({ threshold: o.threshold, missing: missing.map(({ name }) => name), reports });
    if (o.output !== undefined) writeFileAtomic(o.output, [`${report}\n`]);
    if (o.json) print(report);
    else
      print(
        reports
          .flatMap((own, i) => pairs(own, sets[i]!, files, o.show))
          .concat(summary(reports))
          .join("\n"),
      );
    return reports.some(({ matches }) => matches.length > 0) ? 1 : 0;
  },
});

interface TestSet {
  readonly name: string;
  readonly questions: readonly QuestionText[];
}

/** What a group names and is not there is told; what is named itself must be there. */
async function testSets(words: readonly string[], folders: readonly string[]) {
  const sets: TestSet[] = [];
  const missing: { readonly name: string; readonly error: string }[] = [];
  for (const word of words) {
    if (/\.jsonl?(\.gz)?$/.test(word)) {
      sets.push({ name: basename(word), questions: await readQuestionFile(word) });
      continue;
    }
    for (const { name, dataset } of await chosenTasks([word])) {
      if (sets.some((set) => set.name === name)) continue;
      if (taskGroups().has(word) && !hasDataset(dataset, "test", folders)) {
        missing.push({
          name,
          error: `${name}, whose ${dataset.files.test?.join(" or ")} is in none of ${folders.join(", ")}`,
        });
        continue;
      }
      const docs = await dataset.read(findDataset(dataset, "test", folders));
      sets.push({ name, questions: docs.map((doc, row) => questionOfDoc(doc, `${name}: row ${row + 1}`)) });
    }
  }
  if (sets.length === 0)
    throw new UsageError(
      `no test set of --tasks ${words.join(",")} is in ${folders.join(", ")}; --data-dir names a folder that has them`,
    );
  return { sets, missing };
}

function summary(reports: readonly ContaminationReport[]): string {
  const rows = reports.map(({ test, questions, exact, near, share }) =>
    [test, questions, exact, near, percent(share)].map(String),
  );
  const flags = reports.flatMap((report) => flagsOf(report).map((flag) => `${report.test}: ${flag}`));
  return [
    table(["test set", "questions", "exact", "near", "share"], rows),
    "",
    ...(flags.length > 0 ? flags : ["clean"]),
  ].join("\n");
}

/** The pairs that most want a look. */
function pairs(
  { test, matches }: ContaminationReport,
  { questions }: TestSet,
  files: readonly ReadTrainFile[],
  count: number,
): string[] {
  const doubtful = [...matches].sort((a, b) => a.similarity - b.similarity).slice(0, count);
  return doubtful.flatMap(({ test: row, file, train, part, kind, similarity }) => {
    const texts = files
      .find(({ name }) => name === file)!
      .texts.filter((text) => text.row === train && text.part === part);
    return [
      `${test} ${row + 1}, ${file} ${train + 1} (${part}): ${kind}, ${similarity.toFixed(2)}`,
      ...[questions[row]!, ...texts].map((text) => `  ${oneLine(text)}`),
      "",
    ];
  });
}

const oneLine = ({ text, choices }: QuestionText): string =>
  [text, ...choices].join(" | ").replaceAll(/\s+/g, " ").slice(0, 400);
