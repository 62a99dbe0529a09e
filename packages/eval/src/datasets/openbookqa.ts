import { answersWording, choiceDataset } from "./_choices.ts";
import { science } from "./_science.ts";
import { llmAdapters } from "./_sources.ts";

export const openbookqa = choiceDataset({
  name: "openbookqa",
  summary: "elementary science with a fact to know",
  licence: "Apache-2.0",
  citation: "Mihaylov et al. 2018, arXiv:1809.02789",
  files: {
    test: ["openbookqa/test.json", "openbookqa/test.jsonl"],
    train: ["openbookqa/train.json", "openbookqa/train.jsonl"],
  },
  rows: 500,
  sources: llmAdapters("openbookqa", ["test", "train"]),
  wording: answersWording,
  published: () => science,
});
