/** AdamW's numbers for one step, in double precision on the host; the device does the rest (ops/optimizer.ts). */
export interface AdamwOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

export const adamwDefaults: AdamwOptions = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 };

/** Contents of the `hyper` buffer (kernels' ADAMW_HYPER). `step` counts from 1. */
export function adamwHyper(lr: number, step: number, { beta1, beta2, eps, weightDecay }: AdamwOptions): Float32Array {
  return Float32Array.of(
    lr,
    beta1,
    beta2,
    1 - beta1,
    1 - beta2,
    eps,
    weightDecay,
    1 - beta1 ** step,
    Math.sqrt(1 - beta2 ** step),
  );
}
