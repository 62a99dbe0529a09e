/** Every kernel. One line each; the conformance suite and `graft bench` run over this list. */
import type { Kernel } from "./kernel.ts";
import { unary } from "./kernels/unary.ts";

export const kernels: readonly Kernel[] = [unary];
