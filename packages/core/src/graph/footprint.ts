/** What programs take on a device, before there is one. */
import { DIMS_STRIDE } from "@graft/kernels";
import { Arena } from "./arena.ts";
import type { Plan } from "./plan.ts";

/** Bytes on the device. */
export interface Footprint {
  /** Values that live inside a step, in slots that the programs share. */
  readonly arena: number;
  readonly inputs: number;
  readonly constants: number;
  /** Sizes handed to kernels. */
  readonly dims: number;
}

/** What programs of these plans on one arena take, bound in this order; params are their owners'. */
export function footprintOf(plans: readonly Plan[]): Footprint {
  const arena = new Arena({ createBuffer: (size: number) => ({ size, destroy() {} }) });
  for (const { storages } of plans) arena.lease(storages.map((s) => (s.kind === "slot" ? s.bytes : 0)));
  const sum = (of: (plan: Plan) => number) => plans.reduce((total, plan) => total + of(plan), 0);
  return {
    arena: arena.bytes,
    inputs: sum((p) => p.bytes.inputs),
    constants: sum((p) => p.bytes.constants),
    dims: sum((p) => Math.max(1, p.calls.length) * DIMS_STRIDE),
  };
}
