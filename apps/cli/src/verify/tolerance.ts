/** Tolerances of a case, as its README says to use them on a device. */
import type { Case } from "./case.ts";
import type { Tolerance } from "./report.ts";

/** Quantities whose atol may be ten times larger on a GPU (approximate exp and tanh, other orders of summation). */
const WIDENED = new Set(["logits", "loss", "grad", "layer_out", "train_losses", "final_logits", "step_loss"]);

export function toleranceOf({ info }: Case, quantity: string, otherwise?: Tolerance): Tolerance {
  const all = info.tolerance as
    | Record<string, { atol?: number; rtol?: number; fraction_required?: number; hard_atol?: number }>
    | undefined;
  const own = all?.[quantity];
  if (!own) {
    if (otherwise) return otherwise;
    throw new Error(`${info.id}: has no tolerance for ${quantity}`);
  }
  return {
    atol: (own.atol ?? 0) * (WIDENED.has(quantity) ? 10 : 1),
    rtol: own.rtol ?? 0,
    ...(own.fraction_required === undefined
      ? {}
      : { fractionRequired: own.fraction_required, hardAtol: own.hard_atol ?? 0 }),
  };
}
