import { arithmeticDataset, solutions } from "./_arithmetic.ts";
import { llmAdapters } from "./_sources.ts";

export const multiarith = arithmeticDataset({
  name: "multiarith",
  summary: "problems of several steps",
  licence: "as its authors say",
  citation: "Roy and Roth 2015, arXiv:1608.01413",
  files: { test: ["MultiArith/test.json", "MultiArith/MultiArith.json"] },
  rows: 600,
  sources: llmAdapters("MultiArith"),
  published: solutions,
});
