/** Every task. One line each. */
import { suggest, UnknownName } from "@graft/core/errors";
import type { Doc } from "./doc.ts";
import type { Task } from "./task.ts";
import { addsub } from "./tasks/addsub.ts";
import { aqua } from "./tasks/aqua.ts";
import { arcChallenge } from "./tasks/arc-challenge.ts";
import { arcEasy } from "./tasks/arc-easy.ts";
import { boolq } from "./tasks/boolq.ts";
import { gsm8k } from "./tasks/gsm8k.ts";
import { hellaswag } from "./tasks/hellaswag.ts";
import { mathqa } from "./tasks/mathqa.ts";
import { mawps } from "./tasks/mawps.ts";
import { multiarith } from "./tasks/multiarith.ts";
import { openbookqa } from "./tasks/openbookqa.ts";
import { piqa } from "./tasks/piqa.ts";
import { singleeq } from "./tasks/singleeq.ts";
import { socialIqa } from "./tasks/social-i-qa.ts";
import { svamp } from "./tasks/svamp.ts";
import { winogrande } from "./tasks/winogrande.ts";
import { humanEval } from "./tasks/human-eval.ts";
import { cola, mnli, mnliMismatched, mrpc, qnli, qqp, rte, stsb, wnli } from "./tasks/glue.ts";
import { mtBench } from "./tasks/mt-bench.ts";
import { sst2 } from "./tasks/sst2.ts";
import { microCommon, microMath } from "./tasks/micro.ts";

/** What a task's own functions take is what its data set reads. */
const entry = <D extends Doc>(task: Task<D>): Task => task as unknown as Task;

const all: readonly Task[] = [
  entry(addsub),
  entry(aqua),
  entry(gsm8k),
  entry(mathqa),
  entry(mawps),
  entry(multiarith),
  entry(singleeq),
  entry(svamp),
  entry(arcChallenge),
  entry(arcEasy),
  entry(boolq),
  entry(hellaswag),
  entry(openbookqa),
  entry(piqa),
  entry(socialIqa),
  entry(winogrande),
  entry(humanEval),
  entry(mtBench),
  ...[sst2, cola, mrpc, qqp, stsb, mnli, mnliMismatched, qnli, rte, wnli].map((task) => entry(task)),
  entry(microCommon),
  entry(microMath),
];

export const tasks: Readonly<Record<string, Task>> = Object.fromEntries(all.map((task) => [task.name, task]));

/** Capitals, dashes and blanks do not tell tasks apart, and neither do the names that papers use. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
const otherNames: Readonly<Record<string, string>> = {
  siqa: "social_i_qa",
  arce: "arc_easy",
  arcc: "arc_challenge",
  obqa: "openbookqa",
};
const byPlainName = new Map(all.map((task) => [plain(task.name), task]));

/** Throws UnknownName with near names. */
export function taskFor(name: string): Task {
  const found = tasks[name] ?? tasks[otherNames[plain(name)] ?? ""] ?? byPlainName.get(plain(name));
  if (!found) throw new UnknownName(`unknown task "${name}"${suggest(name, Object.keys(tasks))}`);
  return found;
}
