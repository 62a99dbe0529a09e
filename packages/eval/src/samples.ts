/** Per-item results as JSONL in lm-evaluation-harness's shape, appended as they come, so that a killed run goes on where it was. */
import { DataError } from "@graft/core/errors";
import { appendText, writeFileAtomic } from "@graft/core/io";
import { existsSync, readFileSync } from "node:fs";

export interface Sample {
  readonly doc_id: number;
  readonly doc: unknown;
  readonly target: string;
  readonly arguments: readonly unknown[];
  readonly resps: readonly (readonly string[])[];
  readonly filtered_resps: readonly string[];
  readonly filter: string;
  readonly metrics: readonly string[];
  readonly doc_hash: string;
  readonly prompt_hash: string;
  readonly target_hash: string;
  readonly acc: number;
  /** Tokens that the prompt lost at its beginning, if any. */
  readonly cut_tokens?: number;
}

/** A file of samples that belongs to one setting: model, task, version, decoding. */
export class SampleFile {
  readonly path: string;
  readonly done = new Map<number, Sample>();

  /**
   * Reads what an earlier run left; a last line cut short is dropped. The setting stands in a file beside the samples.
   * Throws DataError if the samples belong to another setting.
   */
  constructor(path: string, setting: string) {
    this.path = path;
    const settingPath = `${path}.setting`;
    if (!existsSync(path) || !existsSync(settingPath)) {
      writeFileAtomic(path, []);
      writeFileAtomic(settingPath, [setting]);
      return;
    }
    if (readFileSync(settingPath, "utf8") !== setting) {
      throw new DataError(
        `${path}: holds results of another model, task version or decoding; choose another --output or remove it`,
      );
    }
    const whole: string[] = [];
    for (const line of readFileSync(path, "utf8").split("\n")) {
      let sample: Sample;
      try {
        sample = JSON.parse(line) as Sample;
      } catch {
        continue;
      }
      this.done.set(sample.doc_id, sample);
      whole.push(`${line}\n`);
    }
    writeFileAtomic(path, whole);
  }

  add(sample: Sample): void {
    this.done.set(sample.doc_id, sample);
    appendText(this.path, `${JSON.stringify(sample)}\n`);
  }
}
