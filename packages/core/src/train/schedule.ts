/** Learning-rate schedules with warm-up, as transformers' optimization.py defines them. Each gives the factor on the base rate at optimizer step 0, 1, ... */
import { suggest, UnknownName } from "../errors/index.ts";

export interface ScheduleOptions {
  readonly warmupSteps: number;
  readonly totalSteps: number;
  /** cosine: half waves; cosine_with_restarts: whole restarts. */
  readonly cycles?: number;
  /** polynomial: exponent, and final rate over the base rate. */
  readonly power?: number;
  readonly endFactor?: number;
}
export type Schedule = (step: number) => number;

/** Progress after warm-up in [0, 1), unclamped beyond. */
function progressOf({ warmupSteps, totalSteps }: ScheduleOptions, step: number): number {
  return (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
}

const afterWarmup =
  (rest: (options: ScheduleOptions, step: number) => number) =>
  (options: ScheduleOptions): Schedule =>
  (step) =>
    step < options.warmupSteps ? step / Math.max(1, options.warmupSteps) : rest(options, step);

export const schedules = {
  constant: () => () => 1,
  constant_with_warmup: afterWarmup(() => 1),
  linear: afterWarmup(({ totalSteps, warmupSteps }, step) =>
    Math.max(0, (totalSteps - step) / Math.max(1, totalSteps - warmupSteps)),
  ),
  cosine: afterWarmup((o, step) =>
    Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (o.cycles ?? 0.5) * 2 * progressOf(o, step)))),
  ),
  cosine_with_restarts: afterWarmup((o, step) => {
    const progress = progressOf(o, step);
    return progress >= 1 ? 0 : Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (((o.cycles ?? 1) * progress) % 1))));
  }),
  polynomial: afterWarmup((o, step) => {
    const end = o.endFactor ?? 0;
    if (step > o.totalSteps) return end;
    return (1 - end) * (1 - progressOf(o, step)) ** (o.power ?? 1) + end;
  }),
  inverse_sqrt: ({ warmupSteps }: ScheduleOptions) => {
    const timescale = warmupSteps || 10_000;
    return (step: number) =>
      step < warmupSteps
        ? step / Math.max(1, warmupSteps)
        : 1 / Math.sqrt((step + timescale - warmupSteps) / timescale);
  },
} satisfies Record<string, (options: ScheduleOptions) => Schedule>;
export type ScheduleName = keyof typeof schedules;

/** Throws UnknownName listing what there is. */
export function scheduleFor(name: string, options: ScheduleOptions): Schedule {
  if (!Object.hasOwn(schedules, name))
    throw new UnknownName(`unknown schedule "${name}"${suggest(name, Object.keys(schedules))}`);
  return schedules[name as ScheduleName](options);
}
