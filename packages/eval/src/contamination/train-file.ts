/** Files of questions: training data, and test sets of one's own. */
import { readJsonElements } from "@graft/core/data";
import { DataError } from "@graft/core/errors";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { hashOf } from "../hash.ts";
import type { QuestionText } from "./question-text.ts";
import { questionFieldNames, type RowText, rowTexts } from "./row-texts.ts";
import type { TrainFile, TrainText } from "./training-index.ts";

export interface QuestionFileOptions {
  /** Fields with questions, where a row's form is none that `rowTexts` knows. */
  readonly fields?: readonly string[] | undefined;
}

/** A training file that was read. */
export interface ReadTrainFile extends TrainFile {
  readonly texts: readonly TrainText[];
}

export interface TrainFileOptions extends QuestionFileOptions {
  /** What reports call the file; default: the last part of its path. */
  readonly name?: string | undefined;
  /** Look at responses too, which may repeat a test question. Default: true. */
  readonly answers?: boolean | undefined;
}

/** A .json or .jsonl file, plain or gzipped, of rows in any form that `rowTexts` knows. Throws DataError naming file, line and row. */
export async function readTrainFile(
  path: string,
  { name, fields, answers = true }: TrainFileOptions = {},
): Promise<ReadTrainFile> {
  const rows = await readRowTexts(path, fields);
  return {
    name: name ?? basename(path),
    sha256: hashOf(readFileSync(path)),
    texts: rows.flatMap((texts, row) =>
      texts.filter(({ part }) => answers || part === "question").map((text) => ({ ...text, row })),
    ),
  };
}

/** Several files, each called by the last part of its path, or by the whole path where two would be called the same. Throws what `readTrainFile` throws. */
export async function readTrainFiles(
  paths: readonly string[],
  options: Omit<TrainFileOptions, "name"> = {},
): Promise<ReadTrainFile[]> {
  const names = paths.map((path) => basename(path));
  const isTwice = (name: string): boolean => names.filter((other) => other === name).length > 1;
  const files: ReadTrainFile[] = [];
  for (const [i, path] of paths.entries())
    files.push(await readTrainFile(path, { ...options, name: isTwice(names[i]!) ? path : names[i] }));
  return files;
}

/** The questions of a file, the first of each row. Throws DataError as `readTrainFile` does, and for a row that only answers. */
export async function readQuestionFile(path: string, { fields }: QuestionFileOptions = {}): Promise<QuestionText[]> {
  const rows = await readRowTexts(path, fields);
  return rows.map((texts, row) => firstQuestion(texts, `${path}: row ${row + 1}`));
}

/** The question of a data set's doc. Throws DataError if its form is none that `rowTexts` knows. */
export function questionOfDoc(doc: Readonly<Record<string, unknown>>, where: string): QuestionText {
  return firstQuestion(rowTexts(doc) ?? [], where);
}

function firstQuestion(texts: readonly RowText[], where: string): QuestionText {
  const question = texts.find(({ part }) => part === "question");
  if (question) return question;
  throw new DataError(`${where}: has no question; it stands in one of ${questionFieldNames.join(", ")}`);
}

async function readRowTexts(path: string, fields: readonly string[] = []): Promise<RowText[][]> {
  const elements = await readJsonElements(path);
  return elements.map(({ value, line, index }) => {
    const texts = rowTexts(value, fields);
    if (texts !== undefined) return texts;
    const given =
      typeof value === "object" && value !== null
        ? `has the fields ${Object.keys(value).join(", ") || "none"}`
        : "is no object";
    const wanted = fields.length > 0 ? fields : questionFieldNames;
    throw new DataError(
      `${path}: line ${line}: row ${index + 1}: has no question: the row ${given}; a question is a text in one of ${wanted.join(", ")}`,
    );
  });
}
