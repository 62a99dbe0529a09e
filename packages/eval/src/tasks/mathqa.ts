/** Word problems with five options (Amini et al. 2019, arXiv:1905.13319), 2985 rows. evaluate.py refuses this data set; here it is read as AQuA. */
import { mathqa as dataset } from "../datasets/mathqa.ts";
import { optionTask } from "../families.ts";

export const mathqa = optionTask({ name: "mathqa", summary: "word problems, five options", dataset });
