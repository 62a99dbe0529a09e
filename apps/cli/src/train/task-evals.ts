/** Tasks that are run on an adapter while it is being trained. */
import type { TaskEvals } from "@graft/adapters/train";
import { createLanguageModel, Generator } from "@graft/core/generate";
import type { BaseModel } from "@graft/core/models";
import type { Tokenizer } from "@graft/core/text";
import { primaryFigure, runTask, type Task, type TaskResult } from "@graft/eval";
import { decodingOf } from "../eval/decoding.ts";

export interface TaskEvalOptions {
  readonly tasks: readonly Task[];
  readonly dataDirs: readonly string[];
  readonly limit: number | undefined;
  /** That of the training. */
  readonly promptTemplate: string;
}

export interface OpenTaskEvals extends TaskEvals {
  close(): Promise<void>;
}

/** Holds a cache of its own beside the training's memory. */
export function openTaskEvals(
  base: BaseModel,
  tokenizer: Tokenizer,
  { tasks, dataDirs, limit, promptTemplate }: TaskEvalOptions,
  log: (line: string) => void,
): OpenTaskEvals {
  const generator = new Generator(base);
  return {
    async run(weights, signal) {
      const model = createLanguageModel({ name: base.path, generator, tokenizer, weights });
      const results: TaskResult[] = [];
      for (const task of tasks)
        results.push(
          await runTask(task, model, {
            dataDirs,
            limit,
            template: promptTemplate,
            decoding: decodingOf(task, {}, base.config.maxLength, log),
            signal,
          }),
        );
      // The values change with the next step.
      await generator.forget(weights);
      return Object.fromEntries(results.map((result) => [result.task, primaryFigure(result).value]));
    },
    close: () => generator.destroy(),
  };
}
