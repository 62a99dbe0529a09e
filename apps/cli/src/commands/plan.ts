import { adapterConfigSchema, bindAdapter, makeBase } from "@graft/adapters";
import { ConfigError, ShapeError } from "@graft/core/errors";
import { generationMemory } from "@graft/core/generate";
import { bytesOf, sizeOf } from "@graft/core/graph";
import { readJson } from "@graft/core/io";
import { agreedQuantization, deviceDType, quantizedTypes, readConfigFile, type TraceModel } from "@graft/core/models";
import type { Adapter } from "@graft/core/nn";
import { trainingMemory } from "@graft/core/train";
import type { Capabilities, Limits } from "@graft/kernels";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { openCommandDevice } from "../device.ts";
import { modelOptions, quantizationOf, quantizationOptions } from "../model-options.ts";
import { resolveModelFolder } from "../resolve-model.ts";

const size = (what: string) =>
  z
    .string()
    .regex(/^[\d.]+ *([KMG]i?B?|B)?$/i, `is a number of bytes, such as 24GiB or 512MiB`)
    .transform(parseBytes)
    .optional()
    .describe(what);

export default defineCommand({
  name: "plan",
  summary: "what training or serving a model takes in memory, from its config.json alone",
  description:
    "Traces the graphs that would run and adds up their buffers; no weight is read. The limits are those of the device that is here, unless others are given. What would not fit is named, and the exit code is then 1.",
  examples: [
    "graft plan --model llama-7b/config.json",
    "graft plan --model DIR --adapter adapter_config.json --micro-batch-size 8 --cutoff-len 512",
    "graft plan --model config.json --dtype f16 --memory 24GiB --max-binding-size 2GiB --json",
  ],
  options: z.object({
    model: z.string().describe("a config.json, a folder with one, or a hub name"),
    adapter: z
      .string()
      .optional()
      .describe("an adapter_config.json or a folder with one; default: LoRA with PEFT's defaults"),
    dtype: modelOptions.dtype,
    ...quantizationOptions,
    microBatchSize: z.int().min(1).default(4).describe("rows that go through the model at once in training"),
    cutoffLen: z.int().min(1).default(256).describe("longest training example in tokens"),
    maxSequences: z.int().min(1).optional().describe("sequences that generation runs at once"),
    pages: z.int().min(1).optional().describe("pages of the key-value cache, 16 tokens each"),
    memory: size("memory of the device to plan for: WebGPU does not tell"),
    maxBufferSize: size("largest buffer of the device to plan for"),
    maxBindingSize: size("largest storage binding of the device to plan for"),
    json: z.boolean().default(false).describe("print one JSON document, sizes in bytes"),
  }),
  async run(o, { print }) {
    const path = await configPath(o.model);
    const { definition, config, stored, quantization: present } = readConfigFile(path);
    const shapes = new Map(definition.parameters(config).map((p) => [p.name, p.shape]));
    const quantization = agreedQuantization(present, quantizationOf(o), path);
    const types = quantization && quantizedTypes({ definition, config }, quantization, path);
    const model: TraceModel = {
      definition,
      config,
      dtypeOf: (name) => types?.get(name) ?? deviceDType(stored, shapes.get(name)!, o.dtype),
    };
    const adapter = adapterOf(model, o.adapter);
    const device = await openCommandDevice();
    const { capabilities, info } = device;
    await device.close();
    const limits: Limits = {
      ...capabilities.limits,
      ...(o.maxBufferSize === undefined ? {} : { maxBufferSize: o.maxBufferSize }),
      ...(o.maxBindingSize === undefined ? {} : { maxStorageBufferBindingSize: o.maxBindingSize }),
    };
    const target = { ...capabilities, limits };
    const training = (gradientCheckpointing: boolean) => (c: Capabilities) =>
      trainingMemory(model, adapter, { batch: o.microBatchSize, length: o.cutoffLen, gradientCheckpointing }, c);
    const serving = (c: Capabilities) =>
      generationMemory(
        model,
        adapter,
        { ...presence("maxSequences", o.maxSequences), ...presence("pages", o.pages) },
        c,
      );
    const jobs = {
      training: tried(training(false), target, o.memory),
      "training, gradient checkpointing": tried(training(true), target, o.memory),
      serving: tried(serving, target, o.memory),
    };
    const large = [...shapes].flatMap(([name, shape]) => {
      const bytes = bytesOf({ shape, dtype: model.dtypeOf(name) });
      return bytes > limits.maxBufferSize
        ? [`${name} [${shape}] takes ${bytes} bytes, one buffer holds ${limits.maxBufferSize}`]
        : [];
    });
    const problems = [...new Set([...large, ...Object.values(jobs).flatMap((job) => job.problems)])];
    const parameters = [...shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
    const trainable = adapter.parameters.reduce((sum, p) => sum + (p.trainable ? sizeOf(p.shape) : 0), 0);
    const where = `${info.vendor} ${info.device || info.description}`.trim();
    if (o.json) {
      print(
        JSON.stringify({
          model_type: definition.modelType,
          parameters,
          trainable,
          device: where,
          limits,
          jobs,
          problems,
        }),
      );
      return problems.length > 0 ? 1 : 0;
    }
    print(
      `${definition.modelType}, ${parameters.toLocaleString("en")} parameters, ${adapter.method} with ${trainable.toLocaleString("en")}`,
    );
    for (const [name, { bytes, total }] of Object.entries(jobs)) {
      print(`\n${name}: ${inUnits(total)}`);
      for (const [part, value] of Object.entries(bytes))
        print(`  ${labels[part]!.padEnd(34)}${inUnits(value).padStart(12)}`);
    }
    print("");
    if (problems.length === 0) print(`fits the limits of ${where}`);
    for (const problem of problems) print(`does not fit: ${problem}`);
    return problems.length > 0 ? 1 : 0;
  },
});

const labels: Readonly<Record<string, string>> = {
  weights: "frozen weights",
  adapter: "adapter",
  optimizer: "gradients and optimizer state",
  cache: "key-value cache",
  arena: "activations and temporary values",
  inputs: "inputs",
  constants: "tables",
  dims: "kernel arguments",
};

interface Job {
  readonly bytes: Readonly<Record<string, number>>;
  readonly total: number;
  readonly problems: readonly string[];
}

/** Plans for the device; where that fails, says why and plans for one without limits. */
function tried(make: (capabilities: Capabilities) => object, target: Capabilities, memory: number | undefined): Job {
  const problems: string[] = [];
  let parts: object;
  try {
    parts = make(target);
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    problems.push(error.message);
    const unlimited = { ...target.limits, maxStorageBufferBindingSize: Number.MAX_SAFE_INTEGER };
    parts = make({ ...target, limits: unlimited });
  }
  const bytes = Object.fromEntries(
    Object.entries(parts).filter((entry): entry is [string, number] => typeof entry[1] === "number"),
  );
  const total = Object.values(bytes).reduce((a, b) => a + b, 0);
  if (memory !== undefined && total > memory)
    problems.push(`${inUnits(total)} of memory are needed, there are ${inUnits(memory)}`);
  return { bytes, total, problems };
}

async function configPath(model: string): Promise<string> {
  if (existsSync(model) && statSync(model).isFile()) return model;
  const folder = existsSync(model) ? model : await resolveModelFolder(model, { weights: false });
  return join(folder, "config.json");
}

function adapterOf(model: TraceModel, path: string | undefined): Adapter {
  const base = makeBase(model, (name) => {
    throw new ConfigError(`${name}: a plan reads no weights`);
  });
  if (path === undefined) return bindAdapter({ peft_type: "LORA" }, base, "default LoRA");
  const file = existsSync(path) && statSync(path).isDirectory() ? join(path, "adapter_config.json") : path;
  return bindAdapter(readJson(file, adapterConfigSchema), base, file, "file");
}

const presence = <K extends string, V>(key: K, value: V | undefined) =>
  (value === undefined ? {} : { [key]: value }) as Partial<Record<K, V>>;

function parseBytes(text: string): number {
  const [, digits, unit = ""] = /^([\d.]+) *([KMG]?)/i.exec(text)!;
  return Number(digits) * 1024 ** ["", "K", "M", "G"].indexOf(unit.toUpperCase());
}

function inUnits(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes === 0 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 2)} ${units[power]}`;
}
