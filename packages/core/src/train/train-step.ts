/** The device side of training one adapter on one base: micro-steps that add up gradients, and an update. */
import { ADAMW_HYPER, type Device, type DeviceBuffer } from "@graft/kernels";
import { ConfigError } from "../errors/index.ts";
import {
  Arena,
  bytesOf,
  grad,
  Graph,
  type Plan,
  plan,
  Program,
  sizeOf,
  type Tensor,
  tunedPlan,
} from "../graph/index.ts";
import { recompute } from "../graph/recompute.ts";
import { type BaseModel, traceModelOf, traceSequences, type TraceModel } from "../models/index.ts";
import {
  type Adapter,
  type AdapterParameter,
  type AdapterWeights,
  adapterParameterName,
  type AfterStep,
  type StepValues,
} from "../nn/index.ts";
import { accumulate, adamw, globalNorm } from "../ops/index.ts";
import { adamwHyper, type AdamwOptions } from "./optimizer.ts";

/** One micro-batch as the graph takes it. labels: the token that follows each position, negative to ignore. */
export interface MicroBatch {
  readonly batch: number;
  readonly length: number;
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly positions: Int32Array;
  /** 0 is padding; tokens attend within their segment. */
  readonly segments: Int32Array;
}

export interface TrainStepOptions {
  readonly optimizer: AdamwOptions;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
  /** Recompute each layer in the backward pass instead of keeping its activations. */
  readonly gradientCheckpointing?: boolean;
}

/** Optimizer state by key, for checkpoints. */
export interface OptimizerState {
  readonly m: ReadonlyMap<string, Float32Array>;
  readonly v: ReadonlyMap<string, Float32Array>;
  /** What the adapter's method keeps between steps. */
  readonly method?: ReadonlyMap<string, Float32Array>;
}

const STATES = ["grad", "m", "v"] as const;

interface BatchShape {
  readonly batch: number;
  readonly length: number;
}

export class TrainStep {
  #model: BaseModel;
  #adapter: Adapter;
  #weights: AdapterWeights;
  #options: TrainStepOptions;
  #arena: Arena;
  #state = new Map<string, DeviceBuffer>();
  #programs = new Map<string, Program>();
  #update: Program | undefined;
  #afterStep: AfterStep | undefined;

  constructor(model: BaseModel, weights: AdapterWeights, options: TrainStepOptions) {
    this.#model = model;
    this.#adapter = weights.adapter;
    this.#weights = weights;
    this.#options = options;
    this.#arena = new Arena(model.device);
    this.#afterStep = weights.adapter.afterStep?.();
    for (const { key, shape } of this.#trainable) {
      for (const state of STATES)
        this.#state.set(`${state}/${key}`, model.device.createBuffer(sizeOf(shape) * 4, `${state}/${key}`));
    }
  }

  get #device(): Device {
    return this.#model.device;
  }

  get #trainable() {
    return trainableOf(this.#adapter);
  }

  get #updatePlan(): Plan {
    const { graph, outputs } = updateGraph(this.#adapter);
    return plan(graph, outputs, this.#device.capabilities);
  }

  /**
   * Forward and backward of one micro-batch. The loss is lossScale * sum of token losses, and penaltyScale (1) * the adapter's penalty; its gradient is added to what is there, or replaces it if `isFirst`.
   * seed and step choose the dropout masks. Returns the loss in nats.
   */
  async micro(
    batch: MicroBatch,
    run: {
      readonly lossScale: number;
      readonly penaltyScale?: number;
      readonly isFirst: boolean;
      readonly seed: number;
      readonly step: number;
    },
  ): Promise<number> {
    const program = await this.#programFor("train", batch);
    const [loss] = await program.run({
      ...batchInputs(batch),
      lossScale: Float32Array.of(run.lossScale),
      penaltyScale: Float32Array.of(run.penaltyScale ?? 1),
      keep: Float32Array.of(run.isFirst ? 0 : 1),
      seed: Uint32Array.of(run.seed, run.step),
    });
    return loss![0]!;
  }

  /** Sum of the token losses of a batch in nats, each with the adapter's penalty, without dropout and without gradients. */
  async evaluate(batch: MicroBatch): Promise<number> {
    const program = await this.#programFor("evaluate", batch);
    const supervised = batch.labels.reduce((sum, label) => sum + (label >= 0 ? 1 : 0), 0);
    const [loss] = await program.run({
      ...batchInputs(batch),
      lossScale: Float32Array.of(1),
      penaltyScale: Float32Array.of(supervised),
    });
    return loss![0]!;
  }

  /** One optimizer step from the gradients added up since the last one. `step` counts from 1. Returns the gradient norm before clipping. */
  async update(lr: number, step: number): Promise<number> {
    this.#update ??= await this.#bind(this.#updatePlan, "update");
    const [norm] = await this.#update.run({
      maxNorm: Float32Array.of(this.#options.maxGradNorm),
      hyper: adamwHyper(lr, step, this.#options.optimizer),
    });
    await this.#afterStep?.run(step, this.#stepValues(norm![0]!));
    return norm![0]!;
  }

  #stepValues(norm: number): StepValues {
    const { maxGradNorm } = this.#options;
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (norm + 1e-6)) : 1;
    const sizes = new Map(this.#trainable.map(({ key, shape }) => [key, sizeOf(shape) * 4]));
    const read = async (buffer: DeviceBuffer, key: string) =>
      new Float32Array(await this.#device.read(buffer, 0, sizes.get(key)!));
    return {
      parameter: (key) => read(this.#weights.buffers.get(key)!, key),
      gradient: async (key) => (await read(this.#state.get(`grad/${key}`)!, key)).map((g) => clip * g),
      write: (key, values) => this.#device.write(this.#weights.buffers.get(key)!, values),
    };
  }

  /** Gradients as they are now, by key. */
  async gradients(): Promise<Map<string, Float32Array>> {
    return this.#readState("grad");
  }

  async state(): Promise<OptimizerState> {
    const method = this.#afterStep?.state();
    return { m: await this.#readState("m"), v: await this.#readState("v"), ...(method ? { method } : {}) };
  }

  /** Throws ConfigError if a tensor is missing or of another size. */
  restore(state: OptimizerState): void {
    this.#afterStep?.restore(state.method ?? new Map());
    for (const name of ["m", "v"] as const) {
      for (const { key, shape } of this.#trainable) {
        const values = state[name].get(key);
        if (values?.length !== sizeOf(shape))
          throw new ConfigError(
            `optimizer state ${name} of ${key} has ${values?.length ?? "no"} values, needs [${shape}]`,
          );
        this.#device.write(this.#state.get(`${name}/${key}`)!, values);
      }
    }
  }

  /** Whether micro ("train") or evaluate has its program for batches of that shape. */
  isPrepared(kind: "train" | "evaluate", shape: BatchShape): boolean {
    return this.#programs.has(programKey(kind, shape));
  }

  /** Makes that program, which may take many times as long as to run it. micro and evaluate do it themselves where it was not done before. */
  async prepare(kind: "train" | "evaluate", shape: BatchShape): Promise<void> {
    await this.#programFor(kind, shape);
  }

  /** Plan of the micro-step for a shape: what it takes is known before it runs. */
  planFor(shape: BatchShape): Plan {
    const { graph, outputs } = this.#graphFor(shape);
    return plan(graph, outputs, this.#device.capabilities);
  }

  #graphFor(shape: BatchShape): { graph: Graph; outputs: Tensor[] } {
    return trainingGraph(traceModelOf(this.#model), this.#adapter, shape, this.#options.gradientCheckpointing ?? false);
  }

  destroy(): void {
    for (const program of this.#programs.values()) program.destroy();
    this.#update?.destroy();
    for (const buffer of this.#state.values()) buffer.destroy();
  }

  async #programFor(kind: "train" | "evaluate", { batch, length }: BatchShape): Promise<Program> {
    const shape = { batch, length };
    const key = programKey(kind, shape);
    const known = this.#programs.get(key);
    if (known) return known;
    const made = await this.#bind(kind === "train" ? await this.#tunedPlan(shape) : this.#evaluationPlan(shape), key);
    this.#programs.set(key, made);
    return made;
  }

  #tunedPlan(shape: BatchShape): Promise<Plan> {
    const { graph, outputs } = this.#graphFor(shape);
    return tunedPlan(graph, outputs, this.#device);
  }

  #evaluationPlan(shape: BatchShape): Plan {
    const { graph, loss } = traceSequences(traceModelOf(this.#model), shape, { adapter: this.#adapter });
    return plan(graph, [loss], this.#device.capabilities);
  }

  #bind(made: Plan, label: string): Promise<Program> {
    const resolve = (name: string): DeviceBuffer => {
      const [kind] = name.split("/", 1);
      if (kind === "base") return this.#model.weights.get(name.slice(5))!.buffer;
      if (kind === "adapter") return this.#weights.buffers.get(name.slice("adapter/0/".length))!;
      return this.#state.get(name)!;
    };
    return Program.bind(this.#device, this.#arena, made, resolve, label);
  }

  async #readState(kind: (typeof STATES)[number]): Promise<Map<string, Float32Array>> {
    const values = new Map<string, Float32Array>();
    for (const { key, shape } of this.#trainable) {
      const bytes = await this.#device.read(this.#state.get(`${kind}/${key}`)!, 0, bytesOf({ shape, dtype: "f32" }));
      values.set(key, new Float32Array(bytes));
    }
    return values;
  }
}

function programKey(kind: "train" | "evaluate", { batch, length }: BatchShape): string {
  return `${kind} ${batch}x${length}`;
}

/** The inputs that a batch gives to a graph of traceSequences. */
export function batchInputs({ ids, labels, positions, segments }: MicroBatch) {
  return { ids, labels, positions, segments };
}

function trainableOf(adapter: Adapter): readonly AdapterParameter[] {
  return adapter.parameters.filter((p) => p.trainable);
}

/** Bytes of gradients and optimizer state. */
export function trainingStateBytes(adapter: Adapter): number {
  const bytes = trainableOf(adapter).map(({ shape }) => Math.ceil(sizeOf(shape) / 4) * 16);
  return STATES.length * bytes.reduce((a, b) => a + b, 0);
}

/** The optimizer's step over all trainable parameters; its output is the norm of the gradient. */
export function updateGraph(adapter: Adapter): { graph: Graph; outputs: Tensor[] } {
  const graph = new Graph();
  const maxNorm = graph.input("maxNorm", [1]);
  const hyper = graph.input("hyper", [ADAMW_HYPER.length]);
  const parameters = trainableOf(adapter);
  const gradients = parameters.map(({ key, shape }) => graph.param(`grad/${key}`, shape));
  const norm = globalNorm(maxNorm, gradients);
  for (const [i, { key, shape }] of parameters.entries()) {
    const [m, v] = [graph.param(`m/${key}`, shape), graph.param(`v/${key}`, shape)];
    adamw({ p: graph.param(adapterParameterName("0", key), shape), m, v }, gradients[i]!, norm, hyper, 1);
  }
  return { graph, outputs: [norm] };
}

/** Forward, backward and accumulation of one micro-batch. */
export function trainingGraph(
  model: TraceModel,
  adapter: Adapter,
  shape: BatchShape,
  gradientCheckpointing: boolean,
): { graph: Graph; outputs: Tensor[] } {
  const { graph, loss } = traceSequences(model, shape, { adapter, training: true });
  const trainable = trainableOf(adapter);
  const tensors = trainable.map(({ key, shape: s }) => graph.param(adapterParameterName("0", key), s));
  const gradients = grad(loss, tensors);
  const keep = graph.input("keep", [1]);
  for (const [i, { key, shape: s }] of trainable.entries())
    accumulate(graph.param(`grad/${key}`, s), gradients[i]!, keep);
  return gradientCheckpointing ? recompute(graph, [loss]) : { graph, outputs: [loss] };
}
