/** Test questions that stand in training data. How they are compared: docs/contamination.md. */
import { ConfigError } from "@graft/core/errors";
import { editDistance } from "./_alignment.ts";
import { candidates } from "./_candidates.ts";
import { createPauses } from "./_pauses.ts";
import { type QuestionText, questionText } from "./question-text.ts";
import { type ContaminationMatch, type ContaminationReport, reportOf } from "./report.ts";
import { type IndexOptions, indexTraining, type TrainFile, type TrainingIndex } from "./training-index.ts";
import { contentOf, isNumeric, keyOf, wordsOf } from "./words.ts";

/** Of a question's content words, the part that a near duplicate has in the same order. */
export const DEFAULT_THRESHOLD = 0.9;
/** Below it a piece of a question that must be found unchanged may be a single word. */
export const LOWEST_THRESHOLD = 0.7;
/** A question of fewer content words must be the whole of a text, or stand in it word for word: the same few words come together by chance. */
const SHORT_QUESTION_WORDS = 8;
/** Of fewer than these it must be the whole of a text. */
const SHORTEST_PART_WORDS = 4;

export interface TestQuestions {
  readonly name: string;
  /** A string is a question as a file has it: `questionText` is taken of it. */
  readonly questions: readonly (string | QuestionText)[];
}

export interface ContaminationOptions extends IndexOptions {
  /** LOWEST_THRESHOLD to 1; 1 leaves only those that differ in function words. Default: DEFAULT_THRESHOLD. */
  readonly threshold?: number | undefined;
}

/** The questions of a test set that stand in training files. For several test sets, index the files once: `indexTraining`, `searchIndex`. */
export async function findContamination(
  train: readonly TrainFile[],
  test: TestQuestions,
  options: ContaminationOptions = {},
): Promise<ContaminationReport> {
  return searchIndex(await indexTraining(train, { signal: options.signal }), test, options);
}

/**
 * The questions of a test set that stand in indexed files; none within the threshold is missed. Throws ConfigError for a threshold out of range, and what
 * `signal` is aborted with.
 */
export async function searchIndex(
  index: TrainingIndex,
  { name, questions }: TestQuestions,
  { threshold = DEFAULT_THRESHOLD, signal, onProgress }: ContaminationOptions = {},
): Promise<ContaminationReport> {
  if (!(threshold >= LOWEST_THRESHOLD && threshold <= 1))
    throw new ConfigError(`threshold: must be from ${LOWEST_THRESHOLD} to 1, got ${threshold}`);
  const pause = createPauses(signal);
  const matches: ContaminationMatch[] = [];
  for (const [test, given] of questions.entries()) {
    await pause();
    const question = typeof given === "string" ? questionText(given) : given;
    for (const { text, kind, similarity } of search(index, question, threshold)) {
      const { file, row, part } = index.text(text);
      matches.push({ test, file: index.files[file]!.name, train: row, part, kind, similarity });
    }
    onProgress?.(test + 1, questions.length);
  }
  return reportOf({ test: name, questions: questions.length, threshold, files: index.files, matches });
}

interface Found {
  readonly text: number;
  readonly kind: "exact" | "near";
  readonly similarity: number;
}

/** The most similar text of each file that has one, in the files' order; of equal ones the first. */
function search(index: TrainingIndex, question: QuestionText, threshold: number): Found[] {
  const words = wordsOf(question.text);
  if (words.length === 0) return [];
  const content = contentOf(words);
  const isShort = content.length < SHORT_QUESTION_WORDS;
  const choices = question.choices.map((choice) => wordsOf(choice));
  const best = new Map<number, Found>();
  const offer = (text: number, distance: number, isSame: boolean): void => {
    const { file, choices: theirs } = index.text(text);
    const listed = compareChoices(choices, theirs);
    // Where only one side lists answers, a short question says too little without them.
    if (isShort && !listed && (choices.length > 0 || theirs.length > 0)) return;
    const { missing, total } = listed ?? { missing: 0, total: 0 };
    const all = content.length + total;
    const similarity = all === 0 ? 1 : 1 - (distance + missing) / all;
    const found = { text, similarity, kind: isSame && missing === 0 ? "exact" : "near" } as const;
    if (similarity >= threshold - 1e-9 && isBetter(found, best.get(file))) best.set(file, found);
  };
  for (const text of index.textsOf(words)) offer(text, 0, true);

  const ids = Uint32Array.from(content, (word) => index.idOf(word));
  // A number that no text has cannot be edited.
  const isHopeless = content.some((word, i) => isNumeric(word) && !index.isNumericId(ids[i]!));
  const limit = Math.floor((1 - threshold) * ids.length + 1e-9);
  const distanceIn = (range: readonly [number, number], isWhole: boolean): number =>
    editDistance(ids, index.words, range, { limit, isWhole, isFixed: index.isNumericId });
  for (const { text, window } of isHopeless ? [] : candidates(index, ids, limit)) {
    if (best.get(index.text(text).file)?.kind === "exact") continue;
    const part = distanceIn(window, false);
    if (part > limit) continue;
    const isSame = part === 0 && index.has(text, words);
    if (!isShort || (isSame && ids.length >= SHORTEST_PART_WORDS)) {
      offer(text, part, isSame);
      continue;
    }
    const { from, to } = index.rangeOf(text);
    const whole = to - from > ids.length + limit ? limit + 1 : distanceIn([from, to], true);
    if (whole <= limit) offer(text, whole, false);
  }
  return [...best].sort(([a], [b]) => a - b).map(([, found]) => found);
}

function isBetter(found: Found, than: Found | undefined): boolean {
  if (than === undefined) return true;
  if (found.kind !== than.kind) return found.kind === "exact";
  return found.similarity === than.similarity ? found.text < than.text : found.similarity > than.similarity;
}

/** Words of listed answers that another list lacks: an answer is there word for word or not at all; the order does not count. Undefined if one side lists nothing. */
function compareChoices(choices: readonly (readonly string[])[], theirs: readonly string[]) {
  if (choices.length === 0 || theirs.length === 0) return undefined;
  const keys = new Set(theirs.map((choice) => keyOf(wordsOf(choice))));
  const lengthOf = (list: readonly (readonly string[])[]) => list.reduce((sum, choice) => sum + choice.length, 0);
  return { missing: lengthOf(choices.filter((choice) => !keys.has(keyOf(choice)))), total: lengthOf(choices) };
}
