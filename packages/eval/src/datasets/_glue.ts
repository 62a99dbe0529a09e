/** GLUE's tables: one row a line, cells between tabs, no quotes. */
import { DataError } from "@graft/core/errors";
import type { Dataset } from "../dataset.ts";
import type { Doc } from "../doc.ts";
import { readText } from "@graft/core/data";

export interface GlueDoc extends Doc {
  readonly sentence1: string;
  readonly sentence2?: string;
  /** As it stands in the file: "1", "not_entailment", "3.800". */
  readonly label: string;
  /** The number that the file gives the row. */
  readonly idx?: number;
}

/** Columns by their heads, or by their places from 0 in a table without heads. */
export interface GlueColumns {
  readonly sentence1: string | number;
  readonly sentence2?: string | number;
  readonly label: string | number;
  readonly idx?: string | number;
}

type Own = Omit<Dataset<GlueDoc>, "read" | "citation" | "sources" | "files"> & {
  /** GLUE's folder. */
  readonly folder: string;
  /** File of the development set; the labels of the test set are secret. Default: dev.tsv. */
  readonly dev?: string;
  /** The archive on GLUE's server; left out where GLUE may not give the data away. */
  readonly archive?: string;
  /** Files of the archive that another data set has of it: fetched too, so that it comes once. */
  readonly further?: readonly string[];
  readonly columns: GlueColumns;
  /** All labels there are, or how one must look. */
  readonly labels: readonly string[] | RegExp;
  /** Names that are looked for besides GLUE's. */
  readonly files?: Dataset["files"];
};

/** One of GLUE's data sets. Wang et al. 2018, arXiv:1804.07461. */
export function glueDataset(options: Own): Dataset<GlueDoc> {
  const { folder, dev = "dev.tsv", archive, further = [], columns, labels, files = {}, ...own } = options;
  const paths = { test: `${folder}/${dev}`, train: `${folder}/train.tsv` };
  return {
    ...own,
    citation: "Wang et al. 2018, arXiv:1804.07461",
    files: { test: [...(files.test ?? []), paths.test], train: [...(files.train ?? []), paths.train] },
    sources:
      archive === undefined
        ? []
        : [paths.test, paths.train, ...further.map((file) => `${folder}/${file}`)].map((path) => ({
            url: `https://dl.fbaipublicfiles.com/glue/data/${archive}#${path}`,
            path,
          })),
    read: async (path) => readTable(await readText(path), path, columns, labels),
  };
}

function readTable(text: string, path: string, columns: GlueColumns, labels: readonly string[] | RegExp): GlueDoc[] {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  const hasHeads = Object.values(columns).some((column) => typeof column === "string");
  const heads = hasHeads ? lines[0]!.split("\t") : [];
  const placeOf = (column: string | number): number => {
    const place = typeof column === "number" ? column : heads.indexOf(column);
    if (place < 0)
      throw new DataError(`${path}: line 1: there is no column "${column}", only ${heads.join(", ").slice(0, 120)}`);
    return place;
  };
  const places = Object.entries(columns).map(
    ([field, column]) => [field as keyof GlueColumns, placeOf(column)] as const,
  );
  const docs = lines.flatMap((line, i) => {
    if (line === "" || (hasHeads && i === 0)) return [];
    const where = `${path}: line ${i + 1}`;
    const cells = line.split("\t");
    const row: Partial<Record<keyof GlueColumns, string>> = {};
    for (const [field, place] of places) {
      const cell = cells[place];
      if (cell === undefined)
        throw new DataError(
          `${where}: field "${field}" is missing; it is cell ${place + 1}, the line has ${cells.length}`,
        );
      row[field] = cell;
    }
    return [docOf(row, labels, where)];
  });
  if (docs.length === 0) throw new DataError(`${path}: the table has no rows; it must hold at least one`);
  return docs;
}

function docOf(
  { sentence1 = "", sentence2, label = "", idx }: Partial<Record<keyof GlueColumns, string>>,
  labels: readonly string[] | RegExp,
  where: string,
): GlueDoc {
  const isKnown = labels instanceof RegExp ? labels.test(label) : labels.includes(label);
  if (!isKnown) {
    const known = labels instanceof RegExp ? `like ${labels.source}` : `one of ${labels.join(", ")}`;
    throw new DataError(`${where}: field "label" is ${JSON.stringify(label.slice(0, 40))}; it must be ${known}`);
  }
  if (idx !== undefined && !/^\d+$/.test(idx))
    throw new DataError(`${where}: field "idx" is ${JSON.stringify(idx.slice(0, 40))}; it must be a number`);
  return {
    sentence1,
    ...(sentence2 === undefined ? {} : { sentence2 }),
    label,
    ...(idx === undefined ? {} : { idx: Number(idx) }),
  };
}
