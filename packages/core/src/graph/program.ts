/** Replay: a plan bound to buffers. A step is: write inputs, encode the recorded dispatches, submit, read back at most once. */
import {
  type BufferWindow,
  type Device,
  type DeviceBuffer,
  type Dispatch,
  encode,
  KernelError,
  prepare,
  uploadDims,
} from "@graft/kernels";
import type { Arena } from "./arena.ts";
import { bytesOf, type Spec } from "./graph.ts";
import type { Plan } from "./plan.ts";

export type InputData = Float32Array | Int32Array | Uint32Array;

/** Gives the buffer of a param. Throws if it has none of that name and spec. */
export type Resolve = (name: string, spec: Spec) => DeviceBuffer;

export class Program {
  readonly plan: Plan;
  #device: Device;
  #dispatches: readonly Dispatch[];
  #inputs: ReadonlyMap<string, { readonly buffer: DeviceBuffer; readonly spec: Spec }>;
  #outputs: readonly BufferWindow[];
  #release: () => void;
  readonly #label: string;

  private constructor(
    device: Device,
    plan: Plan,
    label: string,
    parts: {
      dispatches: readonly Dispatch[];
      inputs: ReadonlyMap<string, { readonly buffer: DeviceBuffer; readonly spec: Spec }>;
      outputs: readonly BufferWindow[];
      release: () => void;
    },
  ) {
    this.#device = device;
    this.plan = plan;
    this.#label = label;
    this.#dispatches = parts.dispatches;
    this.#inputs = parts.inputs;
    this.#outputs = parts.outputs;
    this.#release = parts.release;
  }

  /** Makes pipelines and bind groups. Programs on one arena share its slots: what a run leaves there is gone when another runs. */
  static async bind(device: Device, arena: Arena, plan: Plan, resolve: Resolve, label: string): Promise<Program> {
    const inputs = new Map<string, { buffer: DeviceBuffer; spec: Spec }>();
    const constants: DeviceBuffer[] = [];
    const lease = arena.lease(plan.storages.map((s) => (s.kind === "slot" ? s.bytes : 0)));
    const dims = uploadDims(device, plan.calls, label);
    const release = (): void => {
      dims.destroy();
      lease.release();
      for (const { buffer } of inputs.values()) buffer.destroy();
      for (const buffer of constants) buffer.destroy();
    };
    try {
      const buffers = plan.storages.map((storage, i) => {
        if (storage.kind === "slot") return lease.buffers[i]!;
        if (storage.kind === "param") return resolve(storage.name, storage.spec);
        if (storage.kind === "constant") {
          const buffer = device.createBuffer(storage.bytes, `constant ${storage.name}`);
          constants.push(buffer);
          device.write(buffer, storage.data);
          return buffer;
        }
        const buffer = device.createBuffer(storage.bytes, `input ${storage.name}`);
        inputs.set(storage.name, { buffer, spec: storage.spec });
        return buffer;
      });
      const window = (ref: { storage: number; offset: number; size: number }): BufferWindow => ({
        buffer: buffers[ref.storage]!,
        offset: ref.offset,
        size: ref.size,
      });
      const dispatches: Dispatch[] = [];
      for (const [i, call] of plan.calls.entries()) {
        const named = Object.fromEntries(Object.entries(call.buffers).map(([name, ref]) => [name, window(ref)]));
        dispatches.push(await prepare(device, { ...call, buffers: named }, dims.window(i)));
      }
      return new Program(device, plan, label, {
        dispatches,
        inputs,
        outputs: plan.outputs.map((o) => window(o.ref)),
        release,
      });
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Names of the inputs that each run must be given. */
  get inputNames(): readonly string[] {
    return [...this.#inputs.keys()];
  }

  /** Submits one run without waiting. Inputs not given keep their last values. Throws KernelError on an unknown input or a wrong length. */
  submit(data: Readonly<Record<string, InputData>>): Promise<void> {
    this.#write(data);
    return this.#device.scope(this.#label, () => {
      const encoder = this.#device.gpu.createCommandEncoder({ label: this.#label });
      this.#encode(encoder);
      this.#device.gpu.queue.submit([encoder.finish()]);
    });
  }

  /** Runs once and reads the outputs back, in their order. */
  async run(data: Readonly<Record<string, InputData>>): Promise<InputData[]> {
    this.#write(data);
    const total = this.#outputs.reduce((sum, o) => sum + o.size, 0);
    const staging = this.#device.createBuffer(
      total,
      `outputs of ${this.#label}`,
      GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    );
    try {
      const scope = this.#device.scope(this.#label, () => {
        const encoder = this.#device.gpu.createCommandEncoder({ label: this.#label });
        this.#encode(encoder);
        let at = 0;
        for (const { buffer, offset, size } of this.#outputs) {
          encoder.copyBufferToBuffer(buffer.gpu, offset, staging.gpu, at, size);
          at += size;
        }
        this.#device.gpu.queue.submit([encoder.finish()]);
      });
      await scope;
      const bytes = await this.#device.map(staging);
      let at = 0;
      return this.plan.outputs.map(({ spec }, i) => {
        const begin = at;
        at += this.#outputs[i]!.size;
        return viewOf(bytes, begin, spec);
      });
    } finally {
      staging.destroy();
    }
  }

  /** Frees what this program alone holds. */
  destroy(): void {
    this.#release();
  }

  #write(data: Readonly<Record<string, InputData>>): void {
    for (const [name, values] of Object.entries(data)) {
      const input = this.#inputs.get(name);
      // An input that no live node reads was pruned with it.
      if (!input) continue;
      if (values.length * 4 !== bytesOf(input.spec)) {
        throw new KernelError(`${this.#label}: input ${name} [${input.spec.shape}] was given ${values.length} values`);
      }
      this.#device.write(input.buffer, values);
    }
  }

  #encode(encoder: GPUCommandEncoder): void {
    const pass = encoder.beginComputePass({ label: this.#label });
    encode(pass, this.#dispatches);
    pass.end();
  }
}

function viewOf(bytes: ArrayBuffer, begin: number, spec: Spec): InputData {
  const count = bytesOf(spec) / 4;
  if (spec.dtype === "i32") return new Int32Array(bytes, begin, count);
  if (spec.dtype === "f32") return new Float32Array(bytes, begin, count);
  return new Uint32Array(bytes, begin, count);
}
