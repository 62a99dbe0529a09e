/** Training texts, arranged so that a question is found among them without reading them all. */
import { ConfigError } from "@graft/core/errors";
import { hashText } from "@graft/core/random";
import { type PairIndex, indexPairs } from "./_pairs.ts";
import { createPauses } from "./_pauses.ts";
import { type QuestionText, questionText } from "./question-text.ts";
import { contentOf, isNumeric, keyOf, wordsOf } from "./words.ts";

/** A text of a training row. */
export interface TrainText extends QuestionText {
  /** Counts from 0. */
  readonly row: number;
  /** Is it what the row asks, or what it answers? */
  readonly part: "question" | "answer";
}

export interface TrainFile {
  readonly name: string;
  readonly sha256?: string;
  /** A string is the question of a row of its own, as a file has it: `questionText` is taken of it. */
  readonly texts: readonly (string | TrainText)[];
}

export interface IndexOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Training files that can be asked for many test sets. */
export interface TrainingIndex {
  readonly files: readonly Omit<TrainFile, "texts">[];
  /** The content words of all texts, as numbers, one text behind the other. */
  readonly words: Uint32Array;
  readonly pairs: PairIndex;
  /** The number of a word; for one that stands in no text a number that no word has. */
  idOf(word: string): number;
  /** Of a word's number: is it a number or an operator? */
  isNumericId(id: number): boolean;
  /** The texts that consist of these words, however they are divided. */
  textsOf(words: readonly string[]): readonly number[];
  /** The text that has a place of `words`, and its own places. */
  textAt(place: number): { readonly text: number; readonly from: number; readonly to: number };
  rangeOf(text: number): { readonly from: number; readonly to: number };
  /** Does a text have these words in a row, all of them counted? */
  has(text: number, words: readonly string[]): boolean;
  /** A text, and the place of its file in `files`. */
  text(text: number): TrainText & { readonly file: number };
}

/** Takes time and memory in proportion to the texts. Throws ConfigError for two files of one name, and what `signal` is aborted with. */
export async function indexTraining(
  files: readonly TrainFile[],
  { signal, onProgress }: IndexOptions = {},
): Promise<TrainingIndex> {
  const twice = files.find(({ name }, i) => files.findIndex((other) => other.name === name) !== i);
  if (twice) throw new ConfigError(`training files: two are called ${twice.name}; each needs a name of its own`);
  const texts = files.flatMap((file, f) => file.texts.map((text, row) => ({ ...asTrainText(text, row), file: f })));
  const pause = createPauses(signal);
  const vocabulary = new Map<string, number>();
  const wordOf: string[] = [];
  const ends = new Uint32Array(texts.length);
  const byHash = new Map<number, number[]>();
  let words = new Uint32Array(1 << 16);
  let count = 0;
  for (const [i, { text }] of texts.entries()) {
    await pause();
    const all = wordsOf(text);
    const own = contentOf(all);
    if (count + own.length > words.length) words = grown(words, count + own.length);
    for (const word of own) {
      let id = vocabulary.get(word);
      if (id === undefined) {
        id = wordOf.length;
        vocabulary.set(word, id);
        wordOf.push(word);
      }
      words[count++] = id;
    }
    ends[i] = count;
    const hash = hashText(keyOf(all));
    const others = byHash.get(hash);
    if (others) others.push(i);
    else byHash.set(hash, [i]);
    onProgress?.(i + 1, texts.length);
  }
  words = words.slice(0, count);
  const isNumericById = Uint8Array.from(wordOf, (word) => (isNumeric(word) ? 1 : 0));
  const begin = (text: number): number => (text === 0 ? 0 : ends[text - 1]!);
  let last = { text: -1, words: "" }; // a text that has one question has others
  return {
    files: files.map(({ name, sha256 }) => ({ name, ...(sha256 === undefined ? {} : { sha256 }) })),
    words,
    pairs: indexPairs(words, ends),
    idOf: (word) => vocabulary.get(word) ?? wordOf.length,
    isNumericId: (id) => isNumericById[id] === 1,
    textsOf(own) {
      const key = keyOf(own);
      return (byHash.get(hashText(key)) ?? []).filter((text) => keyOf(wordsOf(texts[text]!.text)) === key);
    },
    textAt(place) {
      let [low, high] = [0, ends.length - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (ends[middle]! > place) high = middle;
        else low = middle + 1;
      }
      return { text: low, from: begin(low), to: ends[low]! };
    },
    rangeOf: (text) => ({ from: begin(text), to: ends[text]! }),
    has(text, own) {
      if (last.text !== text) last = { text, words: ` ${wordsOf(texts[text]!.text).join(" ")} ` };
      return last.words.includes(` ${own.join(" ")} `);
    },
    text: (text) => texts[text]!,
  };
}

const asTrainText = (text: string | TrainText, row: number): TrainText =>
  typeof text === "string" ? { ...questionText(text), row, part: "question" } : text;

function grown(words: Uint32Array, needed: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(Math.max(needed, 2 * words.length));
  larger.set(words);
  return larger;
}
