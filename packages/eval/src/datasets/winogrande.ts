import { z } from "zod";
import { numberOrText } from "./_arithmetic.ts";
import { choiceDataset, goldOf, wordChoices, type Wording } from "./_choices.ts";
import { form } from "./_forms.ts";
import { llmAdapters } from "./_sources.ts";

const wording: Wording = {
  opening: "Please choose the correct answer to fill in the blank to complete the given sentence: ",
  word: "option",
  between: " ",
  beforeFormat: " ",
};

/** {sentence, option1, option2, answer: "1" or "2"}. */
const published = form(
  z.object({ sentence: z.string(), option1: z.string(), option2: z.string(), answer: numberOrText }),
  ({ sentence, option1, option2, answer }) =>
    wordChoices(wording, { question: sentence, choices: [option1, option2], gold: goldOf(answer, 1, 2) }),
);

export const winogrande = choiceDataset({
  name: "winogrande",
  summary: "sentences with a blank",
  licence: "CC-BY-4.0",
  citation: "Sakaguchi et al. 2019, arXiv:1907.10641",
  files: {
    test: ["winogrande/test.json", "winogrande/dev.jsonl"],
    train: ["winogrande/train.json", "winogrande/train_xl.jsonl"],
  },
  rows: 1267,
  sources: llmAdapters("winogrande"),
  wording,
  published: () => published,
});
