import { z } from "zod";
import { numberOrText } from "./_arithmetic.ts";
import { choiceDataset, goldOf, wordChoices, type Wording } from "./_choices.ts";
import { form } from "./_forms.ts";
import { labelsBeside } from "./_labels.ts";
import { llmAdapters } from "./_sources.ts";

const wording: Wording = {
  opening: "Please choose the correct solution to the question: ",
  word: "solution",
  between: "\n\n",
  beforeFormat: "\n\n",
};

const row = z.object({ goal: z.string(), sol1: z.string(), sol2: z.string(), label: numberOrText.optional() });

export const piqa = choiceDataset({
  name: "piqa",
  summary: "physical common sense",
  licence: "AFL-3.0",
  citation: "Bisk et al. 2019, arXiv:1911.11641",
  files: {
    test: ["piqa/test.json", "piqa/valid.jsonl", "piqa/dev.jsonl"],
    train: ["piqa/train.json", "piqa/train.jsonl"],
  },
  rows: 1838,
  sources: llmAdapters("piqa", ["test", "train"]),
  wording,
  /** {goal, sol1, sol2}; labels 0 and 1 in the row or in a file beside it. */
  published(path) {
    const labelOf = labelsBeside(path);
    return form(row, ({ goal, sol1, sol2, label }, place) =>
      wordChoices(wording, { question: goal, choices: [sol1, sol2], gold: goldOf(label ?? labelOf(place), 0, 2) }),
    );
  },
});
