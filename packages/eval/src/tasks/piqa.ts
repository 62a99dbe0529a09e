/** Physical common sense, two solutions (Bisk et al. 2019, arXiv:1911.11641), 1838 rows. */
import { choiceTask } from "../families.ts";

export const piqa = choiceTask({
  name: "piqa",
  summary: "physical common sense",
  file: "piqa/test.json",
  words: ["solution1", "solution2"],
});
