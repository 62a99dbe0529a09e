/** Every task. One line each. */
import { suggest, UnknownName } from "@graft/core/errors";
import type { Task } from "./task.ts";
import { boolq } from "./tasks/boolq.ts";
import { gsm8k } from "./tasks/gsm8k.ts";
import { microCommon, microMath } from "./tasks/micro.ts";
import { piqa } from "./tasks/piqa.ts";
import { svamp } from "./tasks/svamp.ts";

export const tasks: Readonly<Record<string, Task>> = Object.fromEntries(
  [boolq, gsm8k, microCommon, microMath, piqa, svamp].map((task) => [task.name, task]),
);

/** Throws UnknownName with near names. */
export function taskFor(name: string): Task {
  const found = tasks[name];
  if (!found) throw new UnknownName(`unknown task "${name}"${suggest(name, Object.keys(tasks))}`);
  return found;
}
