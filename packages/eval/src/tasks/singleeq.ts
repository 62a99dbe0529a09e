/** Problems of one equation (Koncel-Kedziorski et al. 2015, Q15-1042), 508 rows. */
import { singleeq as dataset } from "../datasets/singleeq.ts";
import { arithmeticTask } from "../families.ts";

export const singleeq = arithmeticTask({ name: "singleeq", summary: "problems of one equation", dataset });
