/** Sentences to be ended (Zellers et al. 2019, arXiv:1905.07830), 10042 rows. */
import { hellaswag as dataset } from "../datasets/hellaswag.ts";
import { choicesAfter, choiceTask } from "../families.ts";

export const hellaswag = choiceTask({
  name: "hellaswag",
  summary: "sentences to be ended",
  dataset,
  words: ["ending1", "ending2", "ending3", "ending4"],
  ranking: (doc) => choicesAfter(plain(doc.question), { ...doc, choices: doc.choices.map(plain) }),
});

/** Without WikiHow's marks, as lm-evaluation-harness asks. */
const plain = (text: string): string =>
  text
    .trim()
    .replaceAll(" [title]", ". ")
    .replaceAll(/\[.*?\]/g, "")
    .replaceAll("  ", " ");
