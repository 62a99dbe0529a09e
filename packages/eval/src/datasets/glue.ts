/** GLUE's other data sets, on their development sets. */
import { glueDataset } from "./_glue.ts";

export type { GlueDoc } from "./_glue.ts";

const licence = "as its authors say";
const yesOrNo = ["0", "1"];
const entailment = ["entailment", "not_entailment"];

/** Without heads: source, label, the authors' mark, sentence. */
export const cola = glueDataset({
  name: "cola",
  summary: "sentences, acceptable or not",
  licence,
  folder: "CoLA",
  archive: "CoLA.zip",
  columns: { sentence1: 3, label: 1 },
  labels: yesOrNo,
  rows: 1043,
});

/** GLUE has no archive of it: its script makes dev.tsv of Microsoft's files. */
export const mrpc = glueDataset({
  name: "mrpc",
  summary: "pairs of sentences from the news, the same or not",
  licence,
  folder: "MRPC",
  columns: { sentence1: "#1 String", sentence2: "#2 String", label: "Quality" },
  labels: yesOrNo,
  rows: 408,
});

export const qqp = glueDataset({
  name: "qqp",
  summary: "pairs of questions, the same or not",
  licence,
  folder: "QQP",
  archive: "QQP-clean.zip",
  columns: { sentence1: "question1", sentence2: "question2", label: "is_duplicate", idx: "id" },
  labels: yesOrNo,
  rows: 40_430,
});

export const stsb = glueDataset({
  name: "stsb",
  summary: "pairs of sentences, alike from 0 to 5",
  licence,
  folder: "STS-B",
  archive: "STS-B.zip",
  columns: { sentence1: "sentence1", sentence2: "sentence2", label: "score", idx: "index" },
  labels: /^[0-5](\.\d+)?$/,
  rows: 1500,
});

const inference = {
  folder: "MNLI",
  licence,
  archive: "MNLI.zip",
  columns: { sentence1: "sentence1", sentence2: "sentence2", label: "gold_label", idx: "index" },
  labels: ["entailment", "neutral", "contradiction"],
};

export const mnli = glueDataset({
  ...inference,
  name: "mnli",
  summary: "pairs of sentences, one follows from the other or not, texts of known kinds",
  dev: "dev_matched.tsv",
  further: ["dev_mismatched.tsv"],
  rows: 9815,
});

export const mnliMismatched = glueDataset({
  ...inference,
  name: "mnli_mismatch",
  summary: "pairs of sentences, one follows from the other or not, texts of other kinds",
  dev: "dev_mismatched.tsv",
  further: ["dev_matched.tsv"],
  rows: 9832,
});

export const qnli = glueDataset({
  name: "qnli",
  summary: "questions and sentences that answer them or not",
  licence: "CC-BY-SA-4.0",
  folder: "QNLI",
  archive: "QNLIv2.zip",
  columns: { sentence1: "question", sentence2: "sentence", label: "label", idx: "index" },
  labels: entailment,
  rows: 5463,
});

export const rte = glueDataset({
  name: "rte",
  summary: "pairs of sentences, one follows from the other or not",
  licence,
  folder: "RTE",
  archive: "RTE.zip",
  columns: { sentence1: "sentence1", sentence2: "sentence2", label: "label", idx: "index" },
  labels: entailment,
  rows: 277,
});

export const wnli = glueDataset({
  name: "wnli",
  summary: "pairs of sentences about a pronoun, one follows from the other or not",
  licence,
  folder: "WNLI",
  archive: "WNLI.zip",
  columns: { sentence1: "sentence1", sentence2: "sentence2", label: "label", idx: "index" },
  labels: yesOrNo,
  rows: 71,
});
