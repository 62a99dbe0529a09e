/** Physical common sense (Bisk et al. 2019, arXiv:1911.11641), 1838 rows. */
import { piqa as dataset } from "../datasets/piqa.ts";
import { choiceTask } from "../families.ts";

export const piqa = choiceTask({
  name: "piqa",
  summary: "physical common sense, two solutions",
  dataset,
  words: ["solution1", "solution2"],
});
