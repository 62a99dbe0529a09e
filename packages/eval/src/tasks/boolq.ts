/** Yes-no questions (Clark et al. 2019, arXiv:1905.10044), 3270 rows. LLM-Adapters' rows come without the passage. */
import { boolq as dataset } from "../datasets/boolq.ts";
import { choiceTask } from "../families.ts";

export const boolq = choiceTask({
  name: "boolq",
  summary: "yes-no questions",
  dataset,
  words: ["true", "false"],
  ranking({ passage, question, labels, answer }) {
    const choices = labels.map((label) => (label === "true" ? "yes" : "no"));
    return {
      contexts: `${typeof passage === "string" ? `${passage}\n` : ""}Question: ${question}?\nAnswer:`,
      continuations: choices.map((choice) => ` ${choice}`),
      choices,
      gold: labels.indexOf(answer),
    };
  },
});
