import { z } from "zod";
import { arithmeticDataset, instructionDoc, numberOrText, numberText } from "./_arithmetic.ts";
import { form } from "./_forms.ts";
import { llmAdapters } from "./_sources.ts";

/** {original_text, equation, ans}, the split that is trained on. */
const published = form(z.object({ original_text: z.string(), ans: numberOrText }), ({ original_text, ans }) =>
  instructionDoc(original_text, numberText(ans)),
);

export const mawps = arithmeticDataset({
  name: "mawps",
  summary: "word problems of MAWPS",
  licence: "MIT",
  citation: "Koncel-Kedziorski et al. 2016, N16-1136",
  files: { test: ["mawps/test.json"], train: ["mawps/trainset.json"] },
  rows: 238,
  sources: llmAdapters("mawps"),
  published,
});
