/** A base model: logits, layers, loss, every gradient, padding on either side, greedy and beam search. */
import { Generator } from "@graft/core/generate";
import { fullParameters, loadBaseModel, readWeight } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import type { Device } from "@graft/kernels";
import { type Case, floats, integers } from "./case.ts";
import type { Recorder } from "./report.ts";
import { paddedBatch, runSequences, unpadded } from "./sequences.ts";
import { toleranceOf } from "./tolerance.ts";

export async function verifyBase(kase: Case, device: Device, recorder: Recorder): Promise<void> {
  const { tensors: t } = kase;
  const model = loadBaseModel(device, kase.baseFolder, { dtype: "f32" });
  try {
    const shape = t.info("input_ids").shape;
    const ids = integers(t, "input_ids").data;
    const mask = integers(t, "attention_mask").data;
    const labels = integers(t, "labels").data;
    const width = t.info("logits").shape.at(-1)!;
    const real = (columns: number, m: Int32Array) => (i: number) => m[Math.floor(i / columns)] === 1;
    const logitsTolerance = toleranceOf(kase, "logits");
    const lossTolerance = toleranceOf(kase, "loss");
    const taps = [...t.tensors.keys()].filter((name) => /^(layer_in|layer_out)\.\d+$|^final_norm_out$/.test(name));

    const { countsPadding } = model.definition;
    const left = await runSequences(model, paddedBatch(shape, ids, { mask, labels, countsPadding }), { taps });
    recorder.floats("logits", "logits", left.logits, floats(t, "logits"), logitsTolerance, real(width, mask));
    recorder.floats("loss", "loss", [left.loss], floats(t, "loss"), lossTolerance);
    for (const [name, values] of left.taps) {
      recorder.floats(
        "layer_out",
        name,
        values,
        floats(t, name),
        toleranceOf(kase, "layer_out"),
        real(t.info(name).shape.at(-1)!, mask),
      );
    }
    if (t.tensors.has("logits_with_position_ids")) {
      const positions = integers(t, "position_ids").data;
      const run = await runSequences(model, paddedBatch(shape, ids, { mask, labels, positions, countsPadding }));
      recorder.floats(
        "logits",
        "logits_with_position_ids",
        run.logits,
        floats(t, "logits_with_position_ids"),
        logitsTolerance,
        real(width, mask),
      );
      recorder.floats("loss", "loss_with_position_ids", [run.loss], floats(t, "loss_with_position_ids"), lossTolerance);
    }
    if (t.tensors.has("right.logits")) {
      const rightMask = integers(t, "right.attention_mask").data;
      const batch = paddedBatch(shape, integers(t, "right.input_ids").data, {
        mask: rightMask,
        labels: integers(t, "right.labels").data,
        countsPadding,
      });
      const run = await runSequences(model, batch);
      recorder.floats(
        "logits",
        "right.logits",
        run.logits,
        floats(t, "right.logits"),
        logitsTolerance,
        real(width, rightMask),
      );
      recorder.floats("loss", "right.loss", [run.loss], floats(t, "right.loss"), lossTolerance);
    }
    if (t.tensors.has("nomask.logits")) {
      const { data, shape: own } = integers(t, "nomask.input_ids");
      const run = await runSequences(model, paddedBatch(own, data, { countsPadding }));
      recorder.floats("logits", "nomask.logits", run.logits, floats(t, "nomask.logits"), logitsTolerance);
    }
    await gradients(kase, model, paddedBatch(shape, ids, { mask, labels, countsPadding }), recorder);
    await generation(kase, model, recorder);
  } finally {
    model.destroy();
  }
}

async function gradients(
  kase: Case,
  model: ReturnType<typeof loadBaseModel>,
  batch: ReturnType<typeof paddedBatch>,
  recorder: Recorder,
): Promise<void> {
  const { tensors: t } = kase;
  const full = fullParameters(model.definition, model.config);
  const values = new Map<string, Float32Array>();
  for (const { key } of full.parameters) values.set(key, await readWeight(model, key));
  const weights = new AdapterWeights(model.device, full, values, kase.folder);
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
  try {
    await step.micro(batch, { lossScale: 1 / batch.supervised, isFirst: true, seed: 0, step: 0 });
    for (const [key, got] of await step.gradients()) {
      if (!t.tensors.has(`grad.${key}`)) recorder.skip(`the case has no gradient of ${key}`);
      else recorder.floats("grad", `grad.${key}`, got, floats(t, `grad.${key}`), toleranceOf(kase, "grad"));
    }
  } finally {
    step.destroy();
    weights.destroy();
  }
}

interface GenerationInfo {
  readonly max_new_tokens: number;
  readonly eos_token_id?: number;
  readonly pad_token_id?: number;
  readonly num_beams?: number;
  readonly num_return_sequences?: number;
  readonly length_penalty?: number;
  readonly early_stopping?: boolean;
}

async function generation(kase: Case, model: ReturnType<typeof loadBaseModel>, recorder: Recorder): Promise<void> {
  const { tensors: t } = kase;
  const { data: ids, shape } = integers(t, "gen.input_ids");
  const length = shape[1]!;
  const prompts = unpadded(ids, integers(t, "gen.attention_mask").data, length);
  const generator = new Generator(model, { maxSequences: 8 });
  const options = kase.info.generation as Record<string, GenerationInfo>;
  try {
    for (const name of ["greedy", "greedy_eos", "beam4", "beam4_eos"]) {
      const info = options[name];
      if (!info || !t.tensors.has(`gen.${name}.sequences`)) continue;
      const want = integers(t, `gen.${name}.sequences`);
      const requests = prompts.map((promptIds) => ({
        promptIds,
        maxNewTokens: info.max_new_tokens,
        eosTokenIds: info.eos_token_id === undefined ? [] : [info.eos_token_id],
        numBeams: info.num_beams ?? 1,
        numReturnSequences: info.num_return_sequences ?? 1,
        lengthPenalty: info.length_penalty ?? 1,
        earlyStopping: info.early_stopping ?? false,
      }));
      const results = await generator.generate(requests, undefined);
      // transformers fills ended beams with `pad_token_id or eos_token_id`, so a padding id of 0 becomes the end token.
      const filler = info.num_beams ? info.pad_token_id || (info.eos_token_id ?? 0) : (info.pad_token_id ?? 0);
      const got = new Int32Array(want.data.length).fill(filler);
      const perPrompt = want.shape[0]! / prompts.length;
      for (const [p, sequences] of results.entries()) {
        for (const [s, sequence] of sequences.entries()) {
          const row = (p * perPrompt + s) * want.shape[1]!;
          got.set(ids.subarray(p * length, (p + 1) * length), row);
          got.set(sequence.ids.slice(0, want.shape[1]! - length), row + length);
        }
      }
      recorder.tokens("tokens", `gen.${name}.sequences`, got, want);
      if (t.tensors.has(`gen.${name}.sequences_scores`)) {
        const scores = results.flatMap((sequences) => sequences.map((s) => s.score ?? Number.NaN));
        recorder.floats(
          "beam scores",
          `gen.${name}.sequences_scores`,
          scores,
          floats(t, `gen.${name}.sequences_scores`),
          toleranceOf(kase, "logits"),
        );
      }
    }
    for (const [i, promptIds] of prompts.entries()) {
      const name = `gen.greedy.single${i}.sequences`;
      if (!t.tensors.has(name)) continue;
      const want = integers(t, name);
      const [results] = await generator.generate(
        [{ promptIds, maxNewTokens: options.greedy!.max_new_tokens, eosTokenIds: [] }],
        undefined,
      );
      recorder.tokens("tokens", name, Int32Array.from([...promptIds, ...results![0]!.ids]), want);
    }
    if (t.tensors.has("gen.greedy.step_logits")) await stepLogits(kase, generator, prompts, length, recorder);
  } finally {
    await generator.destroy();
  }
}

/** Logits of every greedy step, from the cache. */
async function stepLogits(
  kase: Case,
  generator: Generator,
  prompts: readonly number[][],
  length: number,
  recorder: Recorder,
): Promise<void> {
  const { tensors: t } = kase;
  const want = floats(t, "gen.greedy.step_logits");
  const sequences = integers(t, "gen.greedy.sequences");
  const [rows, steps, vocab] = want.shape as [number, number, number];
  const got = new Float32Array(rows * steps * vocab);
  for (let row = 0; row < rows; row++) {
    const fresh = sequences.data.subarray(row * sequences.shape[1]! + length, (row + 1) * sequences.shape[1]!);
    for (let step = 0; step < steps; step++) {
      got.set(
        await generator.nextLogits([...prompts[row]!, ...fresh.subarray(0, step)], undefined),
        (row * steps + step) * vocab,
      );
    }
  }
  recorder.floats("logits", "gen.greedy.step_logits", got, want, toleranceOf(kase, "logits"));
}
