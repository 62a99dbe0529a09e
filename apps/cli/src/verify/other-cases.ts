/** Training loops, schedules and logits processors. */
import { type AdapterConfig, baseOf, bindAdapter } from "@graft/adapters";
import {
  minP,
  noRepeatNgram,
  type Processor,
  repetitionPenalty,
  softmax,
  temperature,
  topK,
  topP,
  typicalP,
} from "@graft/core/generate";
import { toFloat32 } from "@graft/core/io";
import { loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, scheduleFor, TrainStep } from "@graft/core/train";
import type { Device } from "@graft/kernels";
import { type Case, floats, integers } from "./case.ts";
import type { Recorder } from "./report.ts";
import { trainingBatches, virtualRowsOf } from "./sequences.ts";
import { recordFinalWeights } from "./final-weights.ts";
import { toleranceOf } from "./tolerance.ts";

interface Loop {
  readonly gradient_accumulation: number;
  readonly loss_reduction: "mean_of_means" | "token_weighted";
  readonly max_grad_norm: number;
  readonly lr: number;
  readonly warmup_steps: number;
  readonly total_steps: number;
  readonly scheduler: string;
  readonly weight_decay: number;
}

/** Accumulation, clipping and schedule around ten or so micro-batches. */
export async function verifyTraining(kase: Case, device: Device, recorder: Recorder): Promise<void> {
  const { tensors: t } = kase;
  const loop = kase.info.loop as Loop;
  const model = loadBaseModel(device, kase.baseFolder, { dtype: "f32" });
  try {
    const bound = bindAdapter(kase.info.adapter_config as AdapterConfig, baseOf(model), kase.info.id);
    const init = new Map(
      bound.parameters.map(({ key }) => [key, toFloat32(t.read(`init/${key}`), t.info(`init/${key}`).dtype, key)]),
    );
    const weights = new AdapterWeights(device, bound, init, kase.folder);
    const step = new TrainStep(model, weights, {
      optimizer: { ...adamwDefaults, weightDecay: loop.weight_decay },
      maxGradNorm: loop.max_grad_norm,
    });
    const schedule = scheduleFor(loop.scheduler, { warmupSteps: loop.warmup_steps, totalSteps: loop.total_steps });
    try {
      const batches = trainingBatches(t, {
        countsPadding: model.definition.countsPadding,
        virtual: virtualRowsOf(kase, weights),
      });
      const losses: number[] = [];
      const norms: number[] = [];
      for (let s = 0; s < loop.total_steps; s++) {
        const first = s * loop.gradient_accumulation;
        const micros = batches.slice(first, first + loop.gradient_accumulation);
        const supervised = micros.reduce((sum, m) => sum + m.supervised, 0);
        let loss = 0;
        for (const [i, micro] of micros.entries()) {
          const lossScale =
            loop.loss_reduction === "token_weighted" ? 1 / supervised : 1 / micro.supervised / micros.length;
          loss += await step.micro(micro, { lossScale, isFirst: i === 0, seed: 0, step: s });
        }
        losses.push(loss);
        norms.push(await step.update(loop.lr * schedule(s), s + 1));
      }
      const steps = kase.info.steps as { step_loss: number; grad_norm_before_clip: number }[];
      recorder.floats(
        "step_loss",
        "step_losses",
        losses,
        { data: steps.map((s) => s.step_loss), shape: [steps.length] },
        toleranceOf(kase, "step_loss"),
      );
      recorder.floats(
        "grad_norm",
        "grad_norms",
        norms,
        { data: steps.map((s) => s.grad_norm_before_clip), shape: [steps.length] },
        toleranceOf(kase, "grad_norm"),
      );
      await recordFinalWeights(kase, weights, recorder);
    } finally {
      step.destroy();
      weights.destroy();
    }
  } finally {
    model.destroy();
  }
}

/** Names of the case, in ours. */
const scheduleNames: Readonly<
  Record<string, { readonly name: string; readonly cycles?: number; readonly endFactor?: number }>
> = {
  linear_with_warmup: { name: "linear" },
  cosine_with_warmup: { name: "cosine" },
  constant_with_warmup: { name: "constant_with_warmup" },
  cosine_with_hard_restarts_with_warmup_2cycles: { name: "cosine_with_restarts", cycles: 2 },
  "polynomial_decay_with_warmup_power1_lrend1e-7": { name: "polynomial", endFactor: 1e-7 },
  inverse_sqrt_with_warmup: { name: "inverse_sqrt" },
};

export async function verifyScheduler(kase: Case, _device: Device, recorder: Recorder): Promise<void> {
  const info = kase.info as unknown as {
    base_lr: number;
    num_warmup_steps: number;
    num_training_steps: number;
    lr: Record<string, number[]>;
    tolerance: { rtol: number };
  };
  for (const [name, want] of Object.entries(info.lr)) {
    const known = scheduleNames[name];
    if (!known) {
      recorder.skip(`no schedule named ${name}`);
      continue;
    }
    const { endFactor, cycles } = known;
    const schedule = scheduleFor(known.name, {
      warmupSteps: info.num_warmup_steps,
      totalSteps: info.num_training_steps,
      ...(cycles === undefined ? {} : { cycles }),
      ...(endFactor === undefined ? {} : { endFactor: endFactor / info.base_lr }),
    });
    const got = Float64Array.from(want, (_, step) => info.base_lr * schedule(step));
    recorder.floats("lr", name, got, { data: want, shape: [want.length] }, { atol: 1e-20, rtol: info.tolerance.rtol });
  }
}

export async function verifyLogitsProcessors(kase: Case, _device: Device, recorder: Recorder): Promise<void> {
  const { tensors: t } = kase;
  const scores = floats(t, "scores");
  const { data: ids, shape } = integers(t, "input_ids");
  const [rows, vocab] = scores.shape as [number, number];
  const tolerance = { atol: 1e-5, rtol: 1e-6 };
  const run = (processors: readonly Processor[]) => {
    const out = Float64Array.from(scores.data);
    for (let r = 0; r < rows; r++) {
      const own = out.subarray(r * vocab, (r + 1) * vocab);
      for (const process of processors) process(own, [...ids.subarray(r * shape[1]!, (r + 1) * shape[1]!)]);
    }
    return out;
  };
  const make: Record<string, (value: number) => Processor> = {
    temperature,
    top_k: topK,
    top_p: topP,
    min_p: minP,
    typical_p: typicalP,
    repetition_penalty: repetitionPenalty,
    no_repeat_ngram_size: noRepeatNgram,
  };
  const outputs = kase.info.outputs as Record<string, Record<string, unknown>>;
  for (const [name, options] of Object.entries(outputs)) {
    const order = options.order as string[] | undefined;
    const settings: [string, number][] = order
      ? order.map((text) => [text.split(" ")[0]!, Number(text.split(" ")[1])])
      : Object.entries(options).flatMap(([key, value]) =>
          make[key] && typeof value === "number" ? [[key, value] as [string, number]] : [],
        );
    const got = run(settings.map(([key, value]) => make[key]!(value)));
    recorder.floats("scores", name, got, floats(t, name), tolerance);
    if (order && t.tensors.has("probs.llm_adapters_chain")) {
      const probabilities = Array.from({ length: rows }, (_, r) => [
        ...softmax(got.subarray(r * vocab, (r + 1) * vocab)),
      ]).flat();
      recorder.floats(
        "probabilities",
        "probs.llm_adapters_chain",
        probabilities,
        floats(t, "probs.llm_adapters_chain"),
        tolerance,
      );
    }
  }
}
