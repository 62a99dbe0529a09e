/** Word problems with varied wording (Patel et al. 2021, arXiv:2103.07191), 1000 rows. */
import { svamp as dataset } from "../datasets/svamp.ts";
import { arithmeticTask } from "../families.ts";

export const svamp = arithmeticTask({ name: "svamp", summary: "word problems with varied wording", dataset });
