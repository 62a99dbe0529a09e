/** How a model generates when a task is run on it. */
import { type RunOptions, scoringOf, type Task } from "@graft/eval";
import type { EvalSettings } from "./options.ts";

type Asked = Pick<EvalSettings, "scoring" | "maxNewTokens" | "numBeams" | "temperature" | "topP">;

/** What differs from the task's own: what was asked for, and fewer new tokens where the model is too short for the usual number; that is said. */
export function decodingOf(
  task: Task,
  { scoring, maxNewTokens, numBeams, temperature, topP }: Partial<Asked>,
  maxLength: number | undefined,
  log: (line: string) => void,
): RunOptions["decoding"] {
  const wanted = maxNewTokens ?? scoringOf(task, scoring).scoring.maxNewTokens;
  // Half of the model at the least is the prompt's.
  const room = maxLength === undefined ? Number.POSITIVE_INFINITY : Math.floor(maxLength / 2);
  const isShort = wanted !== undefined && maxNewTokens === undefined && wanted > room;
  if (isShort) log(`${task.name}: at most ${room} new tokens instead of ${wanted}, since the model holds ${maxLength}`);
  return {
    ...(isShort ? { maxNewTokens: room } : maxNewTokens === undefined ? {} : { maxNewTokens }),
    ...(numBeams === undefined ? {} : { numBeams }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
  };
}
