/** What was found of a test set in training files. */
import type { TrainText } from "./training-index.ts";

export interface ContaminationMatch {
  /** The question's place in the test set, from 0. */
  readonly test: number;
  /** Name of the training file. */
  readonly file: string;
  /** The row's place in it, from 0. */
  readonly train: number;
  readonly part: TrainText["part"];
  /** exact: the same but for case, punctuation and spacing. */
  readonly kind: "exact" | "near";
  /** 1 is exact. */
  readonly similarity: number;
}

/** What one training file has of one test set; plain JSON. */
export interface ContaminationSummary {
  readonly file: string;
  /** Of the training file; null where it is not known. */
  readonly sha256: string | null;
  readonly test: string;
  /** Of the test set, repeated ones too. */
  readonly questions: number;
  /** Questions that stand in the file, and others that it has a near duplicate of. */
  readonly exact: number;
  readonly near: number;
  /** (exact + near) / questions; 0 of an empty set. */
  readonly share: number;
  readonly threshold: number;
}

export interface ContaminationReport extends Omit<ContaminationSummary, "file" | "sha256"> {
  /** The figures of this report count each question once, wherever it stands; these are of each file alone. */
  readonly files: readonly ContaminationSummary[];
  /** The most similar text of each file, by question and file. */
  readonly matches: readonly ContaminationMatch[];
}

interface Findings {
  readonly test: string;
  readonly questions: number;
  readonly threshold: number;
  readonly files: readonly { readonly name: string; readonly sha256?: string }[];
  readonly matches: readonly ContaminationMatch[];
}

export function reportOf({ files, matches, ...own }: Findings): ContaminationReport {
  return {
    ...own,
    ...counts(matches, own.questions),
    files: files.map(({ name, sha256 = null }) => ({
      file: name,
      sha256,
      ...own,
      ...counts(
        matches.filter(({ file }) => file === name),
        own.questions,
      ),
    })),
    matches,
  };
}

/** "83 % of these questions are in math_data.json (1055 exact, 12 near)"; undefined where none is. */
export function flagOf({ file, exact, near, share }: ContaminationSummary): string | undefined {
  if (exact + near === 0) return undefined;
  const kinds = [exact > 0 ? `${exact} exact` : "", near > 0 ? `${near} near` : ""].filter(Boolean).join(", ");
  return `${percent(share)} of these questions are in ${file} (${kinds})`;
}

/** The flags of all files that have questions of the set. */
export function flagsOf({ files }: ContaminationReport): string[] {
  return files.flatMap((summary) => flagOf(summary) ?? []);
}

/** Whole where it is 10 or more, never 0 or 100 by rounding. */
export function percent(share: number): string {
  const value = 100 * share;
  if (value > 99 && value < 100) return "over 99 %";
  if (value > 0 && value < 0.1) return "under 0.1 %";
  return `${value >= 10 ? Math.round(value) : Number(value.toFixed(1))} %`;
}

function counts(matches: readonly ContaminationMatch[], questions: number) {
  const exact = new Set(matches.filter(({ kind }) => kind === "exact").map(({ test }) => test));
  const near = new Set(matches.map(({ test }) => test).filter((test) => !exact.has(test)));
  const share = questions === 0 ? 0 : (exact.size + near.size) / questions;
  return { exact: exact.size, near: near.size, share };
}
