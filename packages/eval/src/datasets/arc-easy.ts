import { answersWording, choiceDataset } from "./_choices.ts";
import { science } from "./_science.ts";
import { llmAdapters } from "./_sources.ts";

export const arcEasy = choiceDataset({
  name: "arc_easy",
  summary: "science questions, the easy ones",
  licence: "CC-BY-SA-4.0",
  citation: "Clark et al. 2018, arXiv:1803.05457",
  files: {
    test: ["ARC-Easy/test.json", "ARC-Easy/ARC-Easy-Test.jsonl"],
    train: ["ARC-Easy/train.json", "ARC-Easy/ARC-Easy-Train.jsonl"],
  },
  rows: 2376,
  sources: llmAdapters("ARC-Easy", ["test", "train"]),
  wording: answersWording,
  published: () => science,
});
