import { glueDataset } from "./_glue.ts";

export const sst2 = glueDataset({
  name: "sst2",
  summary: "film reviews, positive or negative",
  licence: "as its authors say",
  folder: "SST-2",
  archive: "SST-2.zip",
  columns: { sentence1: "sentence", label: "label" },
  labels: ["0", "1"],
  rows: 872,
  files: { test: ["sst2/dev_872.tsv"], train: ["sst2/train_10k.tsv"] },
});
