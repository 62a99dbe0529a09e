import { arithmeticDataset, solutions } from "./_arithmetic.ts";
import { llmAdapters } from "./_sources.ts";

export const singleeq = arithmeticDataset({
  name: "singleeq",
  summary: "problems of one equation",
  licence: "as its authors say",
  citation: "Koncel-Kedziorski et al. 2015, Q15-1042",
  files: { test: ["SingleEq/test.json", "SingleEq/questions.json"] },
  rows: 508,
  sources: llmAdapters("SingleEq"),
  published: solutions,
});
