import { z } from "zod";
import { arithmeticDataset, instructionDoc, numberOrText, numberText } from "./_arithmetic.ts";
import { form } from "./_forms.ts";
import { llmAdapters } from "./_sources.ts";

/** {Body, Question, Answer}. LLM-Adapters ends the body with a full stop where it has none. */
const published = form(
  z.object({ Body: z.string(), Question: z.string(), Answer: numberOrText }),
  ({ Body, Question, Answer }) => {
    const body = Body.trim();
    return instructionDoc(`${body}${body.endsWith(".") ? "" : "."} ${Question.trim()}`, numberText(Answer));
  },
);

export const svamp = arithmeticDataset({
  name: "svamp",
  summary: "word problems with varied wording",
  licence: "MIT",
  citation: "Patel et al. 2021, arXiv:2103.07191",
  files: { test: ["SVAMP/test.json", "SVAMP/SVAMP.json"], train: ["SVAMP/train.json"] },
  rows: 1000,
  sources: llmAdapters("SVAMP"),
  published,
});
