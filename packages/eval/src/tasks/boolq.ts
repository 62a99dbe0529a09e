/** Yes-no questions (Clark et al. 2019, arXiv:1905.10044), 3270 rows. */
import { choiceTask } from "../families.ts";

export const boolq = choiceTask({
  name: "boolq",
  summary: "yes-no questions",
  file: "boolq/test.json",
  words: ["true", "false"],
});
