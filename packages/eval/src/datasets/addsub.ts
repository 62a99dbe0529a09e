import { arithmeticDataset, solutions } from "./_arithmetic.ts";
import { llmAdapters } from "./_sources.ts";

export const addsub = arithmeticDataset({
  name: "addsub",
  summary: "addition and subtraction",
  licence: "as its authors say",
  citation: "Hosseini et al. 2014, D14-1058",
  files: { test: ["AddSub/test.json", "AddSub/AddSub.json"] },
  rows: 395,
  sources: llmAdapters("AddSub"),
  published: solutions,
});
