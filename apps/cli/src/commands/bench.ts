import {
  type Candidate,
  chooseTile,
  type Device,
  kernels,
  matmul,
  measureCeilings,
  openDevice,
  PLAIN_MATMUL,
  timeKernels,
} from "@graft/kernels";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { benchLoraStep } from "../bench/lora-step.ts";
import { benchMixedBatch } from "../bench/mixed-batch.ts";
import { defineCommand, UsageError } from "../command.ts";
import { config } from "../config.ts";

/** m, n, k of matrix products that models are made of, and that peers are compared on. */
const SHAPES = [
  [512, 512, 512],
  [1024, 1024, 1024],
  [64, 2048, 2048],
  [8, 2048, 2048],
  [1, 2048, 2048],
  [512, 256, 256],
  [512, 4096, 256],
  [512, 8, 256],
] as const;

/** One token, a few, and a batch, for weights in every storage. */
const STORED_SHAPES = [
  [1, 2048, 2048],
  [4, 2048, 2048],
  [8, 2048, 2048],
  [256, 1024, 1024],
] as const;

export default defineCommand({
  name: "bench",
  summary: "measure the device's ceilings, the kernels against them, and a training step, a mixed batch",
  description:
    "Medians of interleaved rounds. With --peers the matrix products of tfjs, onnxruntime and jax-js run in turn with ours on the same device (installed on demand in bench/).",
  examples: [
    "graft bench",
    "graft bench --filter matmul --json",
    "graft bench --filter 'matmul (f32|f16|int8|nf4)'",
    "graft bench --peers",
  ],
  options: z.object({
    filter: z
      .string()
      .optional()
      .describe("only what matches this regular expression: kernel names, matmul, lora-step, mixed-batch"),
    rounds: z.int().min(1).default(7).describe("rounds of each measurement"),
    peers: z.boolean().default(false).describe("compare matrix products with other WebGPU libraries"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run(o, { print, log, signal }) {
    if (o.peers) return runPeers(o, signal);
    const wanted = new RegExp(o.filter ?? "");
    const device = await openDevice();
    try {
      log("measuring the ceilings");
      const ceilings = await measureCeilings(device);
      const candidates: Candidate[] = [];
      for (const [m, n, k] of SHAPES) {
        const statics = {
          ...PLAIN_MATMUL,
          ...chooseTile({ m, n, k, transB: true }, device.capabilities),
        };
        candidates.push({
          name: `matmul ${m}x${k}x${n}`,
          kernel: matmul,
          statics,
          dims: matmulDims(m, n, k),
        });
      }
      candidates.push(...storedWeights(device));
      for (const kernel of kernels) {
        if (kernel.atScale)
          candidates.push({ name: `${kernel.name} ${sizesOf(kernel.atScale.dims)}`, kernel, ...kernel.atScale });
      }
      const chosen = candidates.filter((c) => wanted.test(c.name));
      log(`timing ${chosen.length} kernels`);
      const timings = chosen.length > 0 ? await timeKernels(device, chosen, { rounds: o.rounds }) : [];
      const rows = timings.map(({ name, seconds, cost, firstSeconds }) => ({
        name,
        microseconds: seconds * 1e6,
        gflops: cost.flops / seconds / 1e9,
        gibps: cost.bytes / seconds / 2 ** 30,
        fractionOfFma: cost.flops / seconds / 1e9 / ceilings.fmaGflops,
        fractionOfCopy: cost.bytes / seconds / 2 ** 30 / ceilings.copyGibps,
        firstSeconds,
      }));
      if (wanted.test("lora-step")) log("timing a LoRA step");
      const loraStep = wanted.test("lora-step") ? await benchLoraStep(device) : undefined;
      if (wanted.test("mixed-batch")) log("timing a mixed batch");
      const mixedBatch = wanted.test("mixed-batch") ? await benchMixedBatch(device) : undefined;
      if (o.json) {
        print(
          JSON.stringify(
            { device: device.info, ceilings, kernels: rows, loraStep, mixedBatch, date: new Date().toISOString() },
            null,
            2,
          ),
        );
        return 0;
      }
      print(
        `${device.info.description || device.info.device}: ${ceilings.fmaGflops.toFixed(1)} GFLOP/s multiply-add, ${ceilings.copyGibps.toFixed(1)} GiB/s copy, ${ceilings.dispatchMicroseconds.toFixed(1)} us per dispatch`,
      );
      for (const r of rows) {
        print(
          `${r.name.padEnd(44)} ${r.microseconds.toFixed(1).padStart(10)} us ${r.gflops.toFixed(2).padStart(8)} GFLOP/s (${(100 * r.fractionOfFma).toFixed(0).padStart(3)} %) ${r.gibps.toFixed(2).padStart(7)} GiB/s (${(100 * r.fractionOfCopy).toFixed(0).padStart(3)} %)`,
        );
      }
      if (loraStep) {
        const { tokensPerSecond, stepSeconds, matmulSeconds, dispatches } = loraStep;
        print(
          `LoRA step: ${tokensPerSecond.toFixed(0)} tokens/s, ${(1000 * stepSeconds).toFixed(0)} ms, ${(stepSeconds / matmulSeconds).toFixed(2)}x its ${(1000 * matmulSeconds).toFixed(0)} ms of bare matrix products, ${dispatches} dispatches`,
        );
      }
      if (mixedBatch) {
        const { rows: total, adapters, baseSeconds, mixedSeconds, separateSeconds } = mixedBatch;
        print(
          `Mixed batch: ${total} rows with ${adapters} LoRAs in one pass ${(1000 * mixedSeconds).toFixed(1)} ms, in passes of their own ${(1000 * separateSeconds).toFixed(1)} ms (${(separateSeconds / mixedSeconds).toFixed(2)}x); the base alone ${(1000 * baseSeconds).toFixed(1)} ms`,
        );
      }
      return 0;
    } finally {
      await device.close();
    }
  },
});

const matmulDims = (m: number, n: number, k: number) => ({
  m,
  n,
  k,
  aColumns: k,
  aOffset: 0,
  yColumns: n,
  yOffset: 0,
  scale: 1,
  bBegin: 0,
});

/** A linear layer and the gradient of its input, for every storage of its weight. */
function storedWeights({ capabilities }: Pick<Device, "capabilities">): Candidate[] {
  const types = ["f32", "f16", "int8", "nf4"] as const;
  return STORED_SHAPES.flatMap(([m, n, k]) =>
    [true, false].flatMap((transB) =>
      types.map((bType): Candidate => ({
        name: `matmul ${bType} ${m}x${k}x${n}${transB ? "" : " backward"}`,
        kernel: matmul,
        statics: { ...PLAIN_MATMUL, transB, bType, ...chooseTile({ m, n, k, transB, bType }, capabilities) },
        dims: matmulDims(m, n, k),
      })),
    ),
  );
}

/** Peers live in a workspace of their own, with their own lock file. */
/** The dims that are sizes, as in "rows 512 columns 1024". */
function sizesOf(dims: Readonly<Record<string, number>>): string {
  const sizes = Object.entries(dims).filter(([, value]) => Number.isInteger(value) && value > 1);
  return sizes.map(([name, value]) => `${name} ${value}`).join(" ");
}

async function runPeers(o: { rounds: number; json: boolean }, signal: AbortSignal): Promise<number> {
  const folder = join(config.root, "bench");
  if (!existsSync(join(folder, "package.json"))) throw new UsageError(`${folder}: the peers' workspace is missing`);
  const run = (command: string[]) =>
    Bun.spawn(command, { cwd: folder, stdout: "inherit", stderr: "inherit", signal }).exited;
  if (!existsSync(join(folder, "node_modules"))) {
    // onnxruntime's install script fetches CUDA libraries, which the WebGPU provider does not need.
    const code = await run(["bun", "install", "--frozen-lockfile", "--ignore-scripts"]);
    if (code !== 0) return code;
  }
  return run(["bun", "peers.ts", String(o.rounds), ...(o.json ? ["--json"] : [])]);
}
