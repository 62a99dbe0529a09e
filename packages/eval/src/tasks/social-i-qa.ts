/** Social situations (Sap et al. 2019, arXiv:1904.09728), 1954 rows. */
import { socialIqa as dataset } from "../datasets/social-i-qa.ts";
import { choicesAfter, choiceTask } from "../families.ts";

export const socialIqa = choiceTask({
  name: "social_i_qa",
  summary: "social situations, three answers",
  dataset,
  words: ["answer1", "answer2", "answer3", "answer4", "answer5"],
  ranking: (doc) => choicesAfter(`Q: ${doc.question}\nA:`, doc),
});
