/** Sentences with a blank (Sakaguchi et al. 2019, arXiv:1907.10641), 1267 rows. */
import { winogrande as dataset } from "../datasets/winogrande.ts";
import { choiceTask } from "../families.ts";

export const winogrande = choiceTask({
  name: "winogrande",
  summary: "sentences with a blank",
  dataset,
  words: ["option1", "option2"],
  // What follows the blank is scored after each option (Trinh and Le 2018, arXiv:1806.02847, partial evaluation).
  ranking({ question, choices, labels, answer }) {
    const at = question.indexOf("_");
    const rest = ` ${question.slice(at + 1).trim()}`;
    return {
      contexts: choices.map((choice) => question.slice(0, at) + choice),
      continuations: choices.map(() => rest),
      choices: choices.map(() => rest.trim()),
      gold: labels.indexOf(answer),
    };
  },
});
