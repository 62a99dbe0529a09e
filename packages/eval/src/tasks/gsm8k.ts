/** Grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168), 1319 rows. */
import { gsm8k as dataset } from "../datasets/gsm8k.ts";
import { arithmeticTask } from "../families.ts";

export const gsm8k = arithmeticTask({ name: "gsm8k", summary: "grade-school word problems", dataset });
