/** Elementary science (Mihaylov et al. 2018, arXiv:1809.02789), 500 rows. */
import { openbookqa as dataset } from "../datasets/openbookqa.ts";
import { choicesAfter, choiceTask } from "../families.ts";

export const openbookqa = choiceTask({
  name: "openbookqa",
  summary: "elementary science with a fact to know",
  dataset,
  words: ["answer1", "answer2", "answer3", "answer4", "answer5"],
  ranking: (doc) => choicesAfter(doc.question, doc),
});
