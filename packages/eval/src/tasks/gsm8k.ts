/** Grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168), 1319 rows. */
import { arithmeticTask } from "../families.ts";

export const gsm8k = arithmeticTask({ name: "gsm8k", summary: "grade-school word problems", file: "gsm8k/test.json" });
