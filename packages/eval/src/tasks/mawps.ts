/** Word problems (Koncel-Kedziorski et al. 2016, N16-1136), 238 rows. evaluate.py refuses this data set; here it is read as the other numbers are. */
import { mawps as dataset } from "../datasets/mawps.ts";
import { arithmeticTask } from "../families.ts";

export const mawps = arithmeticTask({ name: "mawps", summary: "word problems of MAWPS", dataset });
