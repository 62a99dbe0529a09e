/** ARC and OpenBookQA as AI2 publishes them. */
import { DataError } from "@graft/core/errors";
import { z } from "zod";
import { answersWording, wordChoices } from "./_choices.ts";
import { form } from "./_forms.ts";

/** {question: {stem, choices: [{text, label}]}, answerKey}: keys are letters or numbers, as the choices' labels are. */
export const science = form(
  z.object({
    question: z.object({
      stem: z.string(),
      choices: z.array(z.object({ text: z.string(), label: z.string() })).min(2),
    }),
    answerKey: z.string(),
  }),
  ({ question: { stem, choices }, answerKey }) => {
    const gold = choices.findIndex(({ label }) => label === answerKey);
    if (gold < 0) throw new DataError(`field "answerKey" is ${JSON.stringify(answerKey)}, none of the choices' labels`);
    return wordChoices(answersWording, { question: stem, choices: choices.map(({ text }) => text), gold });
  },
);
