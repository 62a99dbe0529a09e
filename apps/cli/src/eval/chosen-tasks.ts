/** The tasks that `--tasks` names. */
import { UnknownName } from "@graft/core/errors";
import { customTask, humanEvalTask, type Task, taskFor, tasks } from "@graft/eval";
import { readDescription } from "./read-description.ts";
import { UsageError } from "../command.ts";
import { dirname } from "node:path";

/** Every word is a task, a group of tasks, "all" of the paper's, or a file that describes one. Each task once, in the order named. */
export async function chosenTasks(
  words: readonly string[],
  { numSamples = 1, temperature }: { readonly numSamples?: number; readonly temperature?: number | undefined } = {},
): Promise<Task[]> {
  const chosen = new Map<string, Task>();
  for (const word of words) for (const task of await tasksOf(word)) chosen.set(task.name, task);
  if (chosen.size === 0) throw new UsageError("--tasks names no task");
  if (numSamples > 1 && !chosen.has("humaneval")) throw new UsageError("--num-samples goes with the task humaneval");
  if (chosen.has("humaneval"))
    chosen.set(
      "humaneval",
      humanEvalTask({ samples: numSamples, temperature: temperature ?? (numSamples > 1 ? 0.8 : 0) }),
    );
  return [...chosen.values()];
}

/** The same for a flag: throws UsageError naming it for a word that is none of these. */
export async function tasksOfFlag(
  flag: string,
  words: readonly string[],
  options: Parameters<typeof chosenTasks>[1] = {},
): Promise<Task[]> {
  try {
    return await chosenTasks(words, options);
  } catch (error) {
    if (!(error instanceof UnknownName)) throw error;
    throw new UsageError(`${flag}: ${error.message}`, { cause: error });
  }
}

async function tasksOf(word: string): Promise<readonly Task[]> {
  if (/\.(json|ya?ml)$/.test(word)) return [customTask(await readDescription(word), word, dirname(word))];
  const group = taskGroups().get(word);
  return group ?? [taskFor(word)];
}

/** Tasks by the name of their group; "all" is the paper's two benchmarks, which need nothing but a model. */
export function taskGroups(): ReadonlyMap<string, readonly Task[]> {
  const groups = new Map<string, Task[]>();
  for (const task of Object.values(tasks))
    for (const name of task.groups) groups.set(name, [...(groups.get(name) ?? []), task]);
  return new Map([...groups, ["all", [...groups.get("arithmetic")!, ...groups.get("commonsense")!]]]);
}
