/** Science questions (Clark et al. 2018, arXiv:1803.05457), 2376 rows. */
import { arcEasy as dataset } from "../datasets/arc-easy.ts";
import { choiceTask } from "../families.ts";

export const arcEasy = choiceTask({
  name: "arc_easy",
  summary: "science questions, the easy ones",
  dataset,
  words: ["answer1", "answer2", "answer3", "answer4", "answer5"],
});
