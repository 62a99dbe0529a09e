/** Problems of several steps (Roy and Roth 2015, arXiv:1608.01413), 600 rows. */
import { multiarith as dataset } from "../datasets/multiarith.ts";
import { arithmeticTask } from "../families.ts";

export const multiarith = arithmeticTask({ name: "multiarith", summary: "problems of several steps", dataset });
