import { answersWording, choiceDataset } from "./_choices.ts";
import { science } from "./_science.ts";
import { llmAdapters } from "./_sources.ts";

export const arcChallenge = choiceDataset({
  name: "arc_challenge",
  summary: "science questions, the hard ones",
  licence: "CC-BY-SA-4.0",
  citation: "Clark et al. 2018, arXiv:1803.05457",
  files: {
    test: ["ARC-Challenge/test.json", "ARC-Challenge/ARC-Challenge-Test.jsonl"],
    train: ["ARC-Challenge/train.json", "ARC-Challenge/ARC-Challenge-Train.jsonl"],
  },
  rows: 1172,
  sources: llmAdapters("ARC-Challenge", ["test", "train"]),
  wording: answersWording,
  published: () => science,
});
