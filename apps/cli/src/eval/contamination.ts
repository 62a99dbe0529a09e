/** Scores that training data has touched: of the files that were named, and of the file that an adapter was trained on. */
import {
  flagsOf,
  indexTraining,
  questionOfDoc,
  type QuestionText,
  readTrainFiles,
  searchIndex,
  type TaskResult,
  type TrainingIndex,
} from "@graft/eval";
import { DataError } from "@graft/core/errors";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { EvalSettings } from "./options.ts";
import type { TrainingRecord } from "@graft/adapters/train";

export interface ContaminationChecks {
  /** A line for each training file that has questions of the task. */
  of(result: TaskResult, training: TrainingRecord | undefined): Promise<readonly string[]>;
}

/** Reads and indexes each set of training files once. */
export function contaminationChecks(
  { trainData }: Pick<EvalSettings, "trainData">,
  { log, signal }: { readonly log: (line: string) => void; readonly signal: AbortSignal },
): ContaminationChecks {
  const indexes = new Map<string, Promise<TrainingIndex>>();
  const missing = new Set<string>();
  return {
    async of({ task, samples }, training) {
      const own = training?.data_path;
      if (own !== undefined && !existsSync(own) && !missing.has(own)) {
        missing.add(own);
        log(
          `${own}: the adapter's training data is not there any more, so it is not searched for the tasks' questions`,
        );
      }
      const files = [
        ...new Set([...trainData.map((path) => resolve(path)), ...(own !== undefined && existsSync(own) ? [own] : [])]),
      ];
      if (files.length === 0) return [];
      const key = files.join("\n");
      const index = indexes.get(key) ?? openIndex(files, signal);
      indexes.set(key, index);
      let questions: readonly QuestionText[];
      try {
        questions = samples.map(({ doc, doc_id }) => questionOfDoc(doc, `${task}: row ${doc_id + 1}`));
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        log(`${error.message}: it is not searched for in training data`);
        return [];
      }
      return flagsOf(await searchIndex(await index, { name: task, questions }, { signal }));
    },
  };
}

async function openIndex(paths: readonly string[], signal: AbortSignal): Promise<TrainingIndex> {
  return indexTraining(await readTrainFiles(paths), { signal });
}
