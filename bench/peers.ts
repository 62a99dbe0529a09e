/**
 * Matrix products of other WebGPU libraries beside ours: `bun peers.ts [rounds] [--json]`, or `graft bench --peers`.
 * Every contender runs a chain of L products with one [k, k] matrix and reads the result back; rounds are interleaved (A B C D A B C D ...) in one process on one
 * device kind, and medians are compared. Weights are on the device before the clock starts; the chain makes upload and read-back small.
 */
import { create, globals } from "../packages/kernels/node_modules/webgpu/index.js";
import {
  chooseTile,
  type Dispatch,
  encode,
  matmul,
  openDevice,
  prepare,
  uploadDims,
} from "../packages/kernels/src/index.ts";

Object.assign(globalThis, globals);
const gpu = create([]);
Object.defineProperty(globalThis, "navigator", {
  value: { gpu, userAgent: "bun", platform: "linux" },
  configurable: true,
});

const rounds = Number(process.argv.find((arg) => /^\d+$/.test(arg)) ?? 7);
const SHAPES = [
  { m: 512, k: 512, chain: 4 },
  { m: 1024, k: 1024, chain: 1 },
  { m: 64, k: 2048, chain: 2 },
  { m: 8, k: 2048, chain: 8 },
  { m: 1, k: 2048, chain: 64 },
];

interface Contender {
  readonly name: string;
  /** Runs the chain once, result read back. */
  readonly run: () => Promise<Float32Array>;
}
type Maker = (a: Float32Array, b: Float32Array, m: number, k: number, chain: number) => Promise<Contender>;

const ours: Maker = async (a, b, m, k, chain) => {
  const device = await openDevice();
  // The peers take b as [k, n]; so do we here.
  const statics = {
    transA: false,
    transB: false,
    bType: "f32",
    hasBias: false,
    activation: "none",
    hasResidual: false,
    ...chooseTile({ m, n: k, k, transB: false }, device.capabilities),
  };
  const buffers = [m * k, m * k, m * k].map((count, i) => device.createBuffer(count * 4, `x${i}`));
  const weight = device.createBuffer(k * k * 4, "b");
  device.write(weight, b);
  device.write(buffers[0]!, a);
  const window = (buffer: (typeof buffers)[number]) => ({ buffer, offset: 0, size: buffer.size });
  const calls = Array.from({ length: chain }, (_, i) => ({
    kernel: matmul,
    statics,
    dims: { m, n: k, k, aColumns: k, aOffset: 0, yColumns: k, yOffset: 0, scale: 1, bBegin: 0 },
    buffers: {
      a: window(buffers[i === 0 ? 0 : 1 + ((i - 1) % 2)]!),
      b: window(weight),
      y: window(buffers[1 + (i % 2)]!),
    },
  }));
  const dims = uploadDims(device, calls, "peers");
  const dispatches: Dispatch[] = [];
  for (const [i, call] of calls.entries()) dispatches.push(await prepare(device, call, dims.window(i)));
  return {
    name: "graft",
    async run() {
      await device.scope("chain", () => {
        const encoder = device.gpu.createCommandEncoder();
        const pass = encoder.beginComputePass();
        encode(pass, dispatches);
        pass.end();
        device.gpu.queue.submit([encoder.finish()]);
      });
      return new Float32Array(await device.read(buffers[1 + ((chain - 1) % 2)]!, 0, m * k * 4));
    },
  };
};

const tfjs: Maker = async (a, b, m, k, chain) => {
  const tf = await import("@tensorflow/tfjs-core");
  const { WebGPUBackend } = await import("@tensorflow/tfjs-backend-webgpu");
  if (!tf.engine().registryFactory.webgpu || tf.getBackend() !== "webgpu") {
    const adapter = (await gpu.requestAdapter())!;
    const {
      maxStorageBufferBindingSize,
      maxBufferSize,
      maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupSizeX,
    } = adapter.limits;
    const device = await adapter.requestDevice({
      requiredLimits: {
        maxStorageBufferBindingSize,
        maxBufferSize,
        maxComputeWorkgroupStorageSize,
        maxComputeInvocationsPerWorkgroup,
        maxComputeWorkgroupSizeX,
      },
    });
    const backend = new WebGPUBackend(device, adapter.info);
    tf.removeBackend("webgpu");
    tf.registerBackend("webgpu", () => backend);
    tf.env().set("WEBGPU_CPU_FORWARD", false);
    await tf.setBackend("webgpu");
  }
  const [x, w] = [tf.tensor2d(a, [m, k]), tf.tensor2d(b, [k, k])];
  return {
    name: "tfjs-backend-webgpu",
    async run() {
      const y = tf.tidy(() => {
        let out = x;
        for (let i = 0; i < chain; i++) out = tf.matMul(out, w);
        return out;
      });
      const data = (await y.data()) as Float32Array;
      y.dispose();
      return data;
    },
  };
};

const onnxruntime: Maker = async (a, b, m, k, chain) => {
  const ort = await import("onnxruntime-node");
  const { onnx } = (await import("onnx-proto")).default;
  const shape = (dims: number[]) => ({
    tensorType: { elemType: 1, shape: { dim: dims.map((dimValue) => ({ dimValue })) } },
  });
  const model = onnx.ModelProto.create({
    irVersion: 8,
    opsetImport: [{ domain: "", version: 13 }],
    graph: {
      name: "chain",
      node: Array.from({ length: chain }, (_, i) => ({
        opType: "MatMul",
        input: [i === 0 ? "x" : `y${i}`, "w"],
        output: [i === chain - 1 ? "y" : `y${i + 1}`],
      })),
      initializer: [
        { name: "w", dims: [k, k], dataType: 1, rawData: new Uint8Array(b.buffer, b.byteOffset, b.byteLength) },
      ],
      input: [{ name: "x", type: shape([m, k]) }],
      output: [{ name: "y", type: shape([m, k]) }],
    },
  });
  const session = await ort.InferenceSession.create(onnx.ModelProto.encode(model).finish(), {
    executionProviders: ["webgpu"],
  });
  const x = new ort.Tensor("float32", a, [m, k]);
  return { name: "onnxruntime-node webgpu", run: async () => (await session.run({ x })).y!.data as Float32Array };
};

const jax: Maker = async (a, b, m, k, chain) => {
  const { init, defaultDevice, numpy: np } = await import("@jax-js/jax");
  await init("webgpu");
  defaultDevice("webgpu");
  const [x, w] = [np.array(a).reshape([m, k]), np.array(b).reshape([k, k])];
  return {
    name: "jax-js",
    async run() {
      let out = x.ref;
      for (let i = 0; i < chain; i++) out = np.matmul(out, w.ref);
      return (await out.data()) as Float32Array;
    },
  };
};

const report: object[] = [];
for (const { m, k, chain } of SHAPES) {
  let state = 12345;
  const noise = (count: number, scale: number) =>
    Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state / 2 ** 31 - 1) * scale;
    });
  const [a, b] = [noise(m * k, 1), noise(k * k, 1.7 / Math.sqrt(k))];
  const contenders: { contender: Contender; times: number[] }[] = [];
  let want: Float32Array | undefined;
  for (const make of [ours, onnxruntime, tfjs, jax]) {
    try {
      const contender = await make(a, b, m, k, chain);
      const got = (await contender.run()).slice();
      want ??= got;
      const worst = got.reduce((most, x, i) => Math.max(most, Math.abs(x - want![i]!)), 0);
      if (!(worst < 1e-2)) throw new Error(`its result differs by ${worst}`);
      contenders.push({ contender, times: [] });
    } catch (error) {
      console.error(
        `${make.name} at ${m}x${k}x${k}: left out: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const { contender, times } of contenders) {
      const begin = performance.now();
      await contender.run();
      times.push(performance.now() - begin);
    }
  }
  const rows = contenders.map(({ contender, times }) => {
    const median = times.toSorted((x, y) => x - y)[Math.floor(times.length / 2)]!;
    return { name: contender.name, gflops: (2 * m * k * k * chain) / median / 1e6 };
  });
  const best = Math.max(...rows.slice(1).map((row) => row.gflops));
  const ratio = rows[0]!.gflops / best;
  report.push({ shape: `${m}x${k}x${k}`, rows, ratioToBestPeer: ratio });
  console.error(
    `${m}x${k}x${k}: ${rows.map((row) => `${row.name} ${row.gflops.toFixed(2)}`).join(", ")} GFLOP/s; ${ratio.toFixed(2)}x the best peer`,
  );
}
if (process.argv.includes("--json")) console.log(JSON.stringify(report, null, 2));
process.exit(0);
