/** The data of a training run: files to batches. */
import {
  type Batch,
  type Batches,
  createBatches,
  type Example,
  findPromptTemplate,
  readTrainingRows,
  splitValidation,
  tokenizeTraining,
  type TrainingFormat,
} from "@graft/core/data";
import { ConfigError, DataError } from "@graft/core/errors";
import type { Tokenizer } from "@graft/core/text";
import type { TrainRunOptions } from "./run.ts";

export interface RunData {
  readonly format: TrainingFormat;
  readonly training: Batches;
  /** Empty where nothing is validated. */
  readonly validation: readonly Batch[];
}

/**
 * Reads, tokenises and batches. `limits`: positions of the model, and virtual tokens that the adapter puts before each example. `note` gets what a person should know.
 * Throws DataError, ConfigError, UnknownName.
 */
export async function prepareData(
  options: TrainRunOptions,
  tokenizer: Tokenizer,
  limits: { readonly maxLength: number; readonly virtualTokens: number },
  note: (message: string) => void,
): Promise<RunData> {
  const { virtualTokens } = limits;
  const { dataPath, validationPath, valSetSize, seed } = options;
  if (validationPath !== undefined && valSetSize > 0)
    throw new ConfigError(
      `val_set_size ${valSetSize} and a file for validation say different things; give one of them`,
    );
  const cutoffLen = Math.min(options.cutoffLen, limits.maxLength - virtualTokens);
  if (cutoffLen < options.cutoffLen) {
    const beside = virtualTokens > 0 ? ` beside ${virtualTokens} virtual tokens` : "";
    note(`cutoff_len ${options.cutoffLen} is longer than the model${beside}; ${cutoffLen} is used`);
  }
  const template = findPromptTemplate(options.promptTemplate);
  const { trainOnInputs } = options;
  const read = async (path: string, maxRows: number | undefined) => {
    const rows = await readTrainingRows(path, { maxRows });
    const of = path === dataPath ? "" : `${path}: `;
    const { examples, truncated, unsupervised } = await tokenizeTraining(rows, tokenizer, {
      template,
      cutoffLen,
      trainOnInputs,
    });
    if (truncated > 0) note(`${of}${truncated} of ${examples.length} rows were cut at ${cutoffLen} tokens`);
    if (unsupervised > 0)
      note(`${of}${unsupervised} rows have nothing left to learn from: their prompt alone fills ${cutoffLen} tokens`);
    return { format: rows.format, examples };
  };
  const { format, examples } = await read(dataPath, options.maxRows);
  const split =
    validationPath !== undefined
      ? { train: examples, validation: (await read(validationPath, undefined)).examples }
      : valSetSize > 0
        ? splitValidation(examples, valSetSize, seed)
        : { train: examples, validation: [] as Example[] };
  if (split.train.length === 0)
    throw new DataError(`${dataPath}: no rows are left to train on after ${valSetSize} for validation`);
  const common = { batchSize: options.microBatchSize, seed, padId: tokenizer.padId ?? 0, virtualTokens };
  const training = createBatches(split.train, {
    ...common,
    groupByLength: options.groupByLength,
    groupSize: options.batchSize,
    packLength: options.packing ? virtualTokens + cutoffLen : undefined,
  });
  if (split.validation.length === 0) return { format, training, validation: [] };
  const held = createBatches(split.validation, { ...common, shuffle: false });
  return {
    format,
    training,
    validation: Array.from({ length: held.batchesPerEpoch }, (_, index) => held.at({ epoch: 0, index })),
  };
}
