/** Sentences from film reviews (Socher et al. 2013, in GLUE), 872 rows of the development set. */
import { sst2 as dataset } from "../datasets/sst2.ts";
import { glueTask } from "./glue.ts";

export const sst2 = glueTask({
  name: "sst2",
  summary: "is a sentence from a film review positive",
  dataset,
  classes: [
    { label: "0", word: "negative", ranked: "negative" },
    { label: "1", word: "positive", ranked: "positive" },
  ],
  metrics: ["acc", "mcc", "f1"],
  instruct: ({ sentence1 }) =>
    `Please decide whether the following sentence is positive or negative: ${sentence1.trim()}`,
  ask: ({ sentence1 }) => `${sentence1}\nQuestion: Is this sentence positive or negative?\nAnswer:`,
});
