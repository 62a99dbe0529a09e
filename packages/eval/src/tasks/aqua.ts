/** Algebra with five options (Ling et al. 2017, arXiv:1705.04146), 254 rows. */
import { aqua as dataset } from "../datasets/aqua.ts";
import { optionTask } from "../families.ts";

export const aqua = optionTask({ name: "aqua", summary: "algebra, five options", dataset });
