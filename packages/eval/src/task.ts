/** What a task is: rows of a file, a prompt for each, and how an answer is read out of a response. */
import type { GenerateOptions } from "@graft/core/generate";
import type { PromptTemplateName, Row } from "@graft/core/data";

export interface Task {
  readonly name: string;
  /** Raised when prompts, extraction or metric change: results of different versions are not compared. */
  readonly version: number;
  readonly summary: string;
  /** File below the data folder; `.gz` is tried too. */
  readonly file: string;
  readonly template: PromptTemplateName;
  /** The paper's decoding for this family. */
  readonly decoding: Pick<GenerateOptions, "maxNewTokens" | "numBeams">;
  /** The gold answer in the form that `extract` gives. */
  target(row: Row): string;
  /** The answer stated in a response, "" if there is none. */
  extract(response: string): string;
  isCorrect(extracted: string, target: string): boolean;
}
