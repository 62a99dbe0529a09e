/** What a data set is: where its rows are, and how a file of it becomes docs. */
import type { Doc } from "./doc.ts";

export type Split = "train" | "validation" | "test";

/** Where `graft datasets pull` gets a file. */
export interface DatasetSource {
  readonly url: string;
  /** Of the file as the URL gives it; undefined where the publisher may change it. */
  readonly sha256?: string;
  readonly sizeBytes?: number;
  /** Where it goes below the data folder. */
  readonly path: string;
}

export interface Dataset<D extends Doc = Doc> {
  readonly name: string;
  readonly summary: string;
  readonly licence: string;
  /** Paper or page. */
  readonly citation: string;
  /** Files below a data folder, in the order in which they are looked for; with `.gz` behind is tried too. */
  readonly files: Readonly<Partial<Record<Split, readonly string[]>>>;
  /** Rows of the published test set (of `validation` where the test labels are secret). */
  readonly rows: number;
  readonly sources: readonly DatasetSource[];
  /** The docs of a file in any format that the data set is published in. Throws DataError naming file, line, row and field. */
  read(path: string): Promise<D[]>;
}
