import { z } from "zod";
import { numberOrText } from "./_arithmetic.ts";
import { choiceDataset, goldOf, wordChoices, type Wording } from "./_choices.ts";
import { form } from "./_forms.ts";
import { llmAdapters } from "./_sources.ts";

const wording: Wording = {
  opening: "Please choose the correct ending to complete the given sentence: ",
  word: "ending",
  between: " ",
  beforeFormat: "\n\n",
};

/** {activity_label, ctx, endings, label}, labels from 0; WikiHow's marks ("[header]") stay. */
const published = form(
  z.object({
    activity_label: z.string(),
    ctx: z.string(),
    endings: z.array(z.string()).length(4),
    label: numberOrText,
  }),
  ({ activity_label, ctx, endings, label }) =>
    wordChoices(wording, { question: `${activity_label}: ${ctx}`, choices: endings, gold: goldOf(label, 0, 4) }),
);

export const hellaswag = choiceDataset({
  name: "hellaswag",
  summary: "sentences to be ended",
  licence: "MIT",
  citation: "Zellers et al. 2019, arXiv:1905.07830",
  files: {
    test: ["hellaswag/test.json", "hellaswag/hellaswag_val.jsonl"],
    train: ["hellaswag/train.json", "hellaswag/hellaswag_train.jsonl"],
  },
  rows: 10042,
  sources: llmAdapters("hellaswag"),
  wording,
  published: () => published,
});
