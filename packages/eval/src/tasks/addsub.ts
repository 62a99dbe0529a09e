/** Addition and subtraction (Hosseini et al. 2014, D14-1058), 395 rows. */
import { addsub as dataset } from "../datasets/addsub.ts";
import { arithmeticTask } from "../families.ts";

export const addsub = arithmeticTask({ name: "addsub", summary: "addition and subtraction", dataset });
