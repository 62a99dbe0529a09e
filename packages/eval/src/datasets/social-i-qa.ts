import { z } from "zod";
import { numberOrText } from "./_arithmetic.ts";
import { answersWording, choiceDataset, goldOf, wordChoices } from "./_choices.ts";
import { form } from "./_forms.ts";
import { labelsBeside } from "./_labels.ts";
import { llmAdapters } from "./_sources.ts";

const row = z.object({
  context: z.string(),
  question: z.string(),
  answerA: z.string(),
  answerB: z.string(),
  answerC: z.string(),
  label: numberOrText.optional(),
});

export const socialIqa = choiceDataset({
  name: "social_i_qa",
  summary: "social situations, three answers",
  licence: "CC-BY-4.0",
  citation: "Sap et al. 2019, arXiv:1904.09728",
  files: {
    test: ["social_i_qa/test.json", "social_i_qa/dev.jsonl"],
    train: ["social_i_qa/train.json", "social_i_qa/train.jsonl"],
  },
  rows: 1954,
  sources: llmAdapters("social_i_qa", ["test", "train"]),
  wording: answersWording,
  /** {context, question, answerA, answerB, answerC}; labels 1 to 3 in the row or in a file beside it. */
  published(path) {
    const labelOf = labelsBeside(path);
    return form(row, ({ context, question, answerA, answerB, answerC, label }, place) =>
      wordChoices(answersWording, {
        question: `${context} ${question}`,
        choices: [answerA, answerB, answerC],
        gold: goldOf(label ?? labelOf(place), 1, 3),
      }),
    );
  },
});
