/** An adapter on a base: logits, loss, gradients, ten AdamW steps, final weights, merge, generation. */
import { type AdapterConfig, baseOf, bindAdapter } from "@graft/adapters";
import { Generator } from "@graft/core/generate";
import { openSafetensors, toFloat32 } from "@graft/core/io";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import type { Device } from "@graft/kernels";
import { join } from "node:path";
import { type Case, floats, integers, nameIn } from "./case.ts";
import type { Recorder, Tolerance } from "./report.ts";
import { greedyByPasses, paddedBatch, runSequences, trainingBatches, unpadded, virtualRowsOf } from "./sequences.ts";
import { recordFinalWeights } from "./final-weights.ts";
import { toleranceOf } from "./tolerance.ts";

export async function verifyAdapter(kase: Case, device: Device, recorder: Recorder): Promise<void> {
  const { tensors: t } = kase;
  const model = loadBaseModel(device, kase.baseFolder, { dtype: "f32" });
  const inputs = openSafetensors(join(kase.baseFolder, "tensors.safetensors"));
  try {
    const base = baseOf(model);
    // What is trained is init/KEY; what is saved beside it, saved/KEY.
    const stored = (key: string, aliases?: ReadonlyMap<string, string>) => {
      const name = nameIn(kase, "init", key, aliases);
      return t.tensors.has(name) ? name : `saved/${key}`;
    };
    const config = kase.info.adapter_config as AdapterConfig;
    const bound = bindAdapter(config, base, kase.info.id, "file", (key) => t.tensors.get(stored(key))?.shape);
    const trainable = bound.parameters
      .filter((p) => p.trainable)
      .reduce((sum, p) => sum + p.shape.reduce((a, b) => a * b, 1), 0);
    recorder.tokens("trainable count", "trainable_params", Int32Array.of(trainable), {
      data: Int32Array.of(kase.info.trainable_params as number),
      shape: [1],
    });
    const init = new Map(
      bound.parameters.map(({ key }) => {
        const name = stored(key, bound.aliases);
        return [key, toFloat32(t.read(name), t.info(name).dtype, key)];
      }),
    );
    const weights = new AdapterWeights(device, bound, init, kase.folder);
    try {
      const shape = inputs.info("input_ids").shape;
      const mask = integers(inputs, "attention_mask").data;
      const virtual = virtualRowsOf(kase, weights);
      const batch = paddedBatch(shape, integers(inputs, "input_ids").data, {
        mask,
        labels: integers(inputs, "labels").data,
        countsPadding: model.definition.countsPadding,
        virtual,
      });
      const vocab = model.config.vocabSize;
      // Rows whose logits the reference gives: with virtual tokens, or the text's alone.
      const skipped = virtual.areInLogits ? 0 : virtual.ids.length;
      const given = (values: Float32Array) => withoutColumns(values, batch.length, skipped, vocab);
      const isReal = batch.segments.filter((_, i) => i % batch.length >= skipped);
      const real = (i: number) => isReal[Math.floor(i / vocab)] === 1;
      const run = await runSequences(model, batch, { adapter: weights });
      recorder.floats("logits", "logits", given(run.logits), floats(t, "logits"), toleranceOf(kase, "logits"), real);
      recorder.floats("loss", "loss", [run.loss], floats(t, "loss"), toleranceOf(kase, "loss"));
      const plain = bound.toPlain?.(init);
      if (plain) {
        recordSaved(kase, "saved", plain.values, toleranceOf(kase, "merged"), recorder);
        if (plain.bound) {
          const own = new AdapterWeights(device, plain.bound, plain.values, kase.folder);
          try {
            const { logits } = await runSequences(model, batch, { adapter: own });
            recorder.floats(
              "logits",
              "saved_logits",
              given(logits),
              floats(t, "logits"),
              toleranceOf(kase, "logits"),
              real,
            );
          } finally {
            own.destroy();
          }
        }
      }
      await generation(kase, model, weights, recorder);
      await training({ kase, model, weights, batch, inputs, recorder, aliases: bound.aliases });
      const end = await runSequences(model, batch, { adapter: weights });
      recorder.floats(
        "final_logits",
        "final_logits",
        given(end.logits),
        floats(t, "final_logits"),
        toleranceOf(kase, "final_logits"),
        real,
      );
      recorder.floats("loss", "final_loss", [end.loss], floats(t, "final_loss"), { atol: 2e-3, rtol: 0 });
      const trained = bound.toPlain?.(await weights.read());
      if (trained) recordSaved(kase, "final_saved", trained.values, toleranceOf(kase, "final_weights"), recorder);
      const merged = typeof bound.merge === "function" ? bound.merge(init) : undefined;
      if (merged && t.tensors.has("merged_logits")) await merging(kase, model, merged, batch, recorder, real);
    } finally {
      weights.destroy();
    }
  } finally {
    inputs.close();
    model.destroy();
  }
}

interface Training {
  readonly kase: Case;
  readonly model: BaseModel;
  readonly weights: AdapterWeights;
  readonly batch: ReturnType<typeof paddedBatch>;
  readonly inputs: ReturnType<typeof openSafetensors>;
  readonly recorder: Recorder;
  readonly aliases: ReadonlyMap<string, string> | undefined;
}

async function training({ kase, model, weights, batch, inputs, recorder, aliases }: Training): Promise<void> {
  const { tensors: t } = kase;
  const info = kase.info.training as { lr: number; weight_decay: number; steps: number };
  const step = new TrainStep(model, weights, {
    optimizer: { ...adamwDefaults, weightDecay: info.weight_decay },
    maxGradNorm: 0,
  });
  try {
    await step.micro(batch, { lossScale: 1 / batch.supervised, isFirst: true, seed: 0, step: 0 });
    for (const [key, got] of await step.gradients()) {
      const name = nameIn(kase, "grad", key, aliases);
      recorder.floats("grad", name, got, floats(t, name), toleranceOf(kase, "grad"));
    }
    const losses: number[] = [];
    const batches = trainingBatches(inputs, {
      countsPadding: model.definition.countsPadding,
      virtual: virtualRowsOf(kase, weights),
    });
    for (const [i, micro] of batches.slice(0, info.steps).entries()) {
      losses.push(await step.micro(micro, { lossScale: 1 / micro.supervised, isFirst: true, seed: 0, step: i }));
      await step.update(info.lr, i + 1);
    }
    recorder.floats(
      "train_losses",
      "train_losses",
      losses,
      floats(t, "train_losses"),
      toleranceOf(kase, "train_losses"),
    );
    await recordFinalWeights(kase, weights, recorder, aliases);
  } finally {
    step.destroy();
  }
}

/** Rows of `length` positions of `width` numbers each without their first `count` positions. */
function withoutColumns(values: Float32Array, length: number, count: number, width: number): Float32Array {
  return count === 0 ? values : values.filter((_, i) => Math.floor(i / width) % length >= count);
}

/** What is saved of an adapter for use, where the case has it. */
function recordSaved(
  { tensors: t }: Case,
  prefix: "saved" | "final_saved",
  values: ReadonlyMap<string, Float32Array>,
  tolerance: Tolerance,
  recorder: Recorder,
): void {
  for (const [key, got] of values) {
    const name = `${prefix}/${key}`;
    if (t.tensors.has(name)) recorder.floats(prefix, name, got, floats(t, name), tolerance);
  }
}

async function merging(
  kase: Case,
  model: BaseModel,
  merged: ReadonlyMap<string, () => Promise<Float32Array>>,
  batch: ReturnType<typeof paddedBatch>,
  recorder: Recorder,
  real: (i: number) => boolean,
): Promise<void> {
  const { tensors: t } = kase;
  for (const [name, compute] of merged) {
    const values = await compute();
    if (t.tensors.has(`merged/${name}`))
      recorder.floats("merged", `merged/${name}`, values, floats(t, `merged/${name}`), toleranceOf(kase, "merged"));
    model.device.write(model.weights.get(name)!.buffer, values);
  }
  const run = await runSequences(model, batch);
  recorder.floats("logits", "merged_logits", run.logits, floats(t, "merged_logits"), toleranceOf(kase, "logits"), real);
}

async function generation(kase: Case, model: BaseModel, weights: AdapterWeights, recorder: Recorder): Promise<void> {
  const { tensors: t } = kase;
  if (!t.tensors.has("gen.sequences")) return;
  const info = kase.info.generation as {
    max_new_tokens: number;
    sequences_contain_prompt: boolean;
    min_top1_top2_gap: number;
  };
  const { data: ids, shape } = integers(t, "gen.input_ids");
  const length = shape[1]!;
  const mask = t.tensors.has("gen.attention_mask")
    ? integers(t, "gen.attention_mask").data
    : new Int32Array(ids.length).fill(1);
  const prompts = unpadded(ids, mask, length);
  const virtual = virtualRowsOf(kase, weights);
  // PEFT's generate() takes the positions of virtual embeddings, padding and text as forward() does; ours knows no padding.
  const countsPadding = virtual.areInLogits && model.definition.countsPadding;
  const generator = new Generator(model, { maxSequences: 4 });
  try {
    const requests = prompts.map((promptIds) => ({ promptIds, maxNewTokens: info.max_new_tokens, eosTokenIds: [] }));
    const results = await generator.generate(requests, weights);
    const continued = await Promise.all(
      results.map(async ([sequence], p) => {
        if (!countsPadding || prompts[p]!.length === length) return sequence!.ids;
        const part = (data: Int32Array) => data.subarray(p * length, (p + 1) * length);
        return greedyByPasses(model, { ids: part(ids), mask: part(mask), virtual }, info.max_new_tokens, weights);
      }),
    );
    const want = integers(t, "gen.sequences");
    const got = new Int32Array(want.data.length);
    for (const [p, newIds] of continued.entries()) {
      const row = p * want.shape[1]!;
      if (info.sequences_contain_prompt) got.set(ids.subarray(p * length, (p + 1) * length), row);
      got.set(newIds, row + (info.sequences_contain_prompt ? length : 0));
    }
    recorder.tokens("tokens", "gen.sequences", got, want);
  } finally {
    await generator.destroy();
  }
}
