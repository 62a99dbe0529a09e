/** Per-doc results as JSONL in lm-evaluation-harness's shape, appended as they come, so that a killed run goes on where it was. */
import { DataError } from "@graft/core/errors";
import { appendText, writeFileAtomic } from "@graft/core/io";
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import type { ItemValue } from "./task.ts";

const itemValue = z.union([z.number(), z.array(z.number())]);

/** Fields after `metrics` that are no metric's value keep the harness's names. */
const sampleSchema = z
  .object({
    doc_id: z.int().min(0),
    doc: z.record(z.string(), z.unknown()),
    target: z.string(),
    /** gen_args_N: {arg_0: prompt or context, arg_1: settings or continuation}. */
    arguments: z.record(z.string(), z.record(z.string(), z.unknown())),
    /** For each question what came: texts, or [[log-probability, is greedy]] as text. */
    resps: z.array(z.array(z.unknown())),
    filtered_resps: z.array(z.unknown()),
    filter: z.string(),
    metrics: z.array(z.string()),
    doc_hash: z.string(),
    prompt_hash: z.string(),
    target_hash: z.string(),
    /** Tokens that the prompts lost at their beginning; not there for none. */
    cut_tokens: z.int().optional(),
  })
  .catchall(z.unknown())
  .transform((sample, context) => {
    for (const name of sample.metrics)
      if (!itemValue.safeParse(sample[name]).success) context.addIssue(`the value of ${name} is missing`);
    return sample;
  });
export type Sample = z.output<typeof sampleSchema>;

/** A sample's value of one of its metrics. */
export function valueOf(sample: Sample, metric: string): ItemValue {
  return itemValue.parse(sample[metric]);
}

/** A file of samples that belongs to one setting: model, task, version, data, scoring, decoding. */
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
        `${path}: holds results of another model, task version, data or setting; choose another --output or remove it`,
      );
    }
    for (const line of readFileSync(path, "utf8").split("\n")) {
      const sample = readSample(line);
      if (sample) this.done.set(sample.doc_id, sample);
    }
    this.#rewrite();
  }

  add(sample: Sample): void {
    this.done.set(sample.doc_id, sample);
    appendText(this.path, `${JSON.stringify(sample)}\n`);
  }

  /** Puts the docs in their order: they came as they were done. */
  finish(): void {
    this.#rewrite();
  }

  #rewrite(): void {
    const sorted = [...this.done.values()].toSorted((a, b) => a.doc_id - b.doc_id);
    writeFileAtomic(
      this.path,
      sorted.map((sample) => `${JSON.stringify(sample)}\n`),
    );
  }
}

/** Undefined for a line that is no whole sample: it is asked again. */
function readSample(line: string): Sample | undefined {
  try {
    return sampleSchema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
