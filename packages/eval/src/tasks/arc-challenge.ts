/** Science questions that retrieval does not answer (Clark et al. 2018, arXiv:1803.05457), 1172 rows. */
import { arcChallenge as dataset } from "../datasets/arc-challenge.ts";
import { choiceTask } from "../families.ts";

export const arcChallenge = choiceTask({
  name: "arc_challenge",
  summary: "science questions, the hard ones",
  dataset,
  words: ["answer1", "answer2", "answer3", "answer4", "answer5"],
});
