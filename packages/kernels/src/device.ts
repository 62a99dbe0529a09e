/** The device: the only owner of WebGPU objects. Everything above it speaks of bytes, kernels and dispatches. */
import { DeviceLost, DeviceOutOfMemory, DeviceUnavailable, DeviceValidationError } from "./errors.ts";
import { Tuner } from "./autotune.ts";
import type { MatmulTile } from "./kernels/matmul.ts";
import { withQuietStderr } from "./quiet.ts";

/** What a kernel may ask of a device when it writes its text. Never a vendor's name. */
export interface Capabilities {
  /** True for a driver that runs on the CPU: no workgroup memory worth having, no barriers. */
  readonly isSoftware: boolean;
  readonly subgroups: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly shaderF16: boolean;
  readonly limits: Limits;
  /** Tiles of matrix products that were found by trying (autotune.ts), by problem; empty: a fixed rule decides. */
  readonly tiles: ReadonlyMap<string, MatmulTile>;
}

export interface Limits {
  readonly maxBufferSize: number;
  readonly maxStorageBufferBindingSize: number;
  readonly minStorageBufferOffsetAlignment: number;
  readonly maxStorageBuffersPerShaderStage: number;
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupsPerDimension: number;
}

export interface OpenDeviceOptions {
  /** Values below the adapter's own, so that a test can meet a limit with small data. */
  readonly limits?: Partial<Limits>;
  /** Features the adapter has and the caller does not want, for example "subgroups". */
  readonly withoutFeatures?: readonly string[];
  /** Dawn toggles, for example { disable: ["timestamp_quantization"] }. */
  readonly toggles?: { readonly enable?: readonly string[]; readonly disable?: readonly string[] };
  readonly powerPreference?: GPUPowerPreference;
  /** Default: a fixed rule chooses tiles, the same every time. */
  readonly tuning?: TuningOptions;
}

/** Trying tiles of matrix products at first use. */
export interface TuningOptions {
  /** Where to keep what was found; undefined: only in this device object. */
  readonly cacheDir: string | undefined;
  /** Not on a driver that runs on the CPU, which goes by measured rules. */
  readonly skipSoftware?: boolean;
}

/** A buffer counted by the device that made it. */
export interface DeviceBuffer {
  readonly gpu: GPUBuffer;
  readonly size: number;
  readonly label: string;
  destroy(): void;
}

/** A part of a buffer, in bytes. */
export interface BufferWindow {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly size: number;
}

// Dawn crashes the process if what create() returned is collected while a device is in use: held for life.
const held: GPU[] = [];

const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "minStorageBufferOffsetAlignment",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupsPerDimension",
] as const satisfies readonly (keyof Limits)[];
const WANTED_FEATURES = ["subgroups", "shader-f16", "timestamp-query"] as const;

/**
 * Opens the fastest adapter with all the limits it has.
 * Throws DeviceUnavailable if there is none or it lacks a limit that was asked for.
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  const gpu = await obtainGpu(options);
  const adapter = await withQuietStderr(() =>
    gpu.requestAdapter({ powerPreference: options.powerPreference ?? "high-performance" }),
  );
  if (!adapter) {
    throw new DeviceUnavailable("no WebGPU adapter: no GPU driver was found; `graft doctor` says what to install");
  }
  const limits = {} as Record<keyof Limits, number>;
  for (const name of LIMITS) {
    const has = adapter.limits[name];
    const asked = options.limits?.[name] ?? has;
    const isAlignment = name === "minStorageBufferOffsetAlignment";
    if (isAlignment ? asked < has : asked > has) {
      throw new DeviceUnavailable(`adapter limit ${name} is ${has}, asked for ${asked}`);
    }
    limits[name] = asked;
  }
  const features = WANTED_FEATURES.filter((f) => adapter.features.has(f) && !options.withoutFeatures?.includes(f));
  const device = await withQuietStderr(() =>
    adapter.requestDevice({ requiredFeatures: features, requiredLimits: limits }),
  );
  const isTuned = !(options.tuning?.skipSoftware && adapter.info.isFallbackAdapter);
  return new Device(gpu, adapter, device, limits, isTuned ? options.tuning : undefined);
}

async function obtainGpu(options: OpenDeviceOptions): Promise<GPU> {
  const browser = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  if (browser) return browser;
  // Not before a device is wanted: a process that only reads configs has no driver in it, and a browser no binding.
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const { enable = [], disable = [] } = options.toggles ?? {};
  const flags = [
    // Nanosecond timestamps: without it they come in steps of 65 us.
    `disable-dawn-features=${["timestamp_quantization", ...disable].join(",")}`,
    ...(enable.length > 0 ? [`enable-dawn-features=${enable.join(",")}`] : []),
  ];
  const gpu = create(flags);
  held.push(gpu);
  return gpu;
}

export class Device {
  readonly capabilities: Capabilities;
  readonly info: {
    readonly vendor: string;
    readonly architecture: string;
    readonly device: string;
    readonly description: string;
  };
  readonly features: readonly string[];
  readonly hasTimestamps: boolean;
  /** Bytes and number of buffers made and not yet destroyed. */
  liveBytes = 0;
  liveBuffers = 0;
  /** The highest liveBytes since the device was opened or resetPeak() was called. */
  peakBytes = 0;
  readonly gpu: GPUDevice;
  /** Resolves when the device is gone or in an unknown state, at once and not at its next use; never for one that was closed. */
  readonly lost: Promise<DeviceLost>;
  #resolveLost: (error: DeviceLost) => void;
  #gpuRoot: GPU;
  #adapter: GPUAdapter;
  /** There where tuning was asked for. */
  readonly tuner: Tuner | undefined;
  #tiles = new Map<string, MatmulTile>();
  #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  #lost: string | undefined;
  #inFlight = new Set<Promise<unknown>>();

  constructor(root: GPU, adapter: GPUAdapter, gpu: GPUDevice, limits: Limits, tuning?: TuningOptions) {
    this.#gpuRoot = root;
    this.#adapter = adapter;
    this.gpu = gpu;
    const { promise, resolve } = Promise.withResolvers<DeviceLost>();
    this.lost = promise;
    this.#resolveLost = resolve;
    const { vendor, architecture, device, description } = adapter.info;
    this.info = { vendor, architecture, device, description };
    this.features = [...gpu.features].toSorted();
    this.hasTimestamps = gpu.features.has("timestamp-query");
    const info = adapter.info as GPUAdapterInfo & { subgroupMinSize?: number; subgroupMaxSize?: number };
    const subgroups = gpu.features.has("subgroups");
    this.capabilities = {
      isSoftware: adapter.info.isFallbackAdapter,
      subgroups,
      subgroupMinSize: subgroups ? (info.subgroupMinSize ?? 4) : 1,
      subgroupMaxSize: subgroups ? (info.subgroupMaxSize ?? 128) : 1,
      shaderF16: gpu.features.has("shader-f16"),
      limits,
      tiles: this.#tiles,
    };
    if (tuning) this.tuner = new Tuner(this, this.#tiles, tuning.cacheDir);
    void gpu.lost.then((reason) => {
      if (reason.reason !== "destroyed") this.#lose(reason.message);
    });
    // Every command runs inside a scope; what still arrives here left the device in an unknown state.
    gpu.onuncapturederror = (event) => {
      this.#lose(`uncaptured error: ${event.error.message}`);
    };
  }

  /** Throws DeviceOutOfMemory naming the label and size. Contents are zero. */
  createBuffer(
    size: number,
    label: string,
    usage: number = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  ): DeviceBuffer {
    this.assertAlive();
    const bytes = Math.max(16, Math.ceil(size / 16) * 16);
    if (bytes > this.capabilities.limits.maxBufferSize) {
      throw new DeviceOutOfMemory(
        `buffer ${label} needs ${bytes} bytes; the device allows ${this.capabilities.limits.maxBufferSize} in one buffer`,
      );
    }
    this.gpu.pushErrorScope("out-of-memory");
    let gpu: GPUBuffer;
    try {
      gpu = this.gpu.createBuffer({ size: bytes, usage, label });
    } catch (cause) {
      void this.gpu.popErrorScope();
      throw new DeviceOutOfMemory(
        `buffer ${label} of ${bytes} bytes could not be made; ${this.liveBytes} bytes are in use`,
        { cause },
      );
    }
    this.#track(
      this.gpu.popErrorScope().then((error) => {
        if (error) this.#lose(`out of memory: buffer ${label} of ${bytes} bytes, ${this.liveBytes} bytes in use`);
      }),
    );
    this.liveBytes += bytes;
    this.liveBuffers += 1;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    let isLive = true;
    return {
      gpu,
      size: bytes,
      label,
      destroy: () => {
        if (!isLive) return;
        isLive = false;
        this.liveBytes -= bytes;
        this.liveBuffers -= 1;
        gpu.destroy();
      },
    };
  }

  resetPeak(): void {
    this.peakBytes = this.liveBytes;
  }

  /** Copies bytes into a buffer; offset and length are multiples of 4 (a shorter tail is padded with zeros). */
  write(buffer: DeviceBuffer, data: ArrayBufferView, offset = 0): void {
    this.assertAlive();
    let bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (bytes.length % 4 !== 0 || bytes.buffer instanceof SharedArrayBuffer) {
      const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
      padded.set(bytes);
      bytes = padded;
    }
    if (offset + bytes.length > buffer.size) {
      throw new DeviceValidationError(
        `write of ${bytes.length} bytes at ${offset} does not fit in ${buffer.label} (${buffer.size} bytes)`,
      );
    }
    this.gpu.queue.writeBuffer(buffer.gpu, offset, bytes as Uint8Array<ArrayBuffer>);
  }

  /** Reads bytes back. Waits for everything submitted before. */
  async read(buffer: DeviceBuffer, offset = 0, size = buffer.size - offset): Promise<ArrayBuffer> {
    const aligned = Math.ceil(size / 4) * 4;
    const staging = this.createBuffer(
      aligned,
      `read ${buffer.label}`,
      GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    );
    try {
      await this.scope(`read ${buffer.label}`, () => {
        const encoder = this.gpu.createCommandEncoder();
        encoder.copyBufferToBuffer(buffer.gpu, offset, staging.gpu, 0, aligned);
        this.gpu.queue.submit([encoder.finish()]);
      });
      return (await this.map(staging)).slice(0, size);
    } finally {
      staging.destroy();
    }
  }

  /** Maps a MAP_READ buffer and returns a copy of its bytes. */
  async map(staging: DeviceBuffer): Promise<ArrayBuffer> {
    this.assertAlive();
    try {
      await this.settle(staging.gpu.mapAsync(GPUMapMode.READ));
    } catch (cause) {
      this.assertAlive();
      throw new DeviceLost(`could not read ${staging.label}`, { cause });
    }
    const copy = staging.gpu.getMappedRange().slice(0);
    staging.gpu.unmap();
    return copy;
  }

  /** The texts of all pipelines made so far. */
  get pipelineTexts(): readonly string[] {
    return [...this.#pipelines.keys()];
  }

  /** A compute pipeline, made once per text. `label` names it in errors. */
  pipeline(text: string, label: string, layout: GPUBindGroupLayoutDescriptor): Promise<GPUComputePipeline> {
    const known = this.#pipelines.get(text);
    if (known) return known;
    const made = this.#makePipeline(text, label, layout);
    this.#pipelines.set(text, made);
    made.catch(() => this.#pipelines.delete(text));
    return made;
  }

  async #makePipeline(text: string, label: string, layout: GPUBindGroupLayoutDescriptor): Promise<GPUComputePipeline> {
    this.assertAlive();
    this.gpu.pushErrorScope("validation");
    const module = this.gpu.createShaderModule({ code: text, label });
    const bindGroupLayout = this.gpu.createBindGroupLayout(layout);
    const pipelineLayout = this.gpu.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] });
    const pending = this.gpu.createComputePipelineAsync({
      label,
      layout: pipelineLayout,
      compute: { module, entryPoint: "main" },
    });
    const scope = this.gpu.popErrorScope();
    try {
      const pipeline = await this.settle(pending);
      const error = await scope;
      if (error) throw new Error(error.message);
      return pipeline;
    } catch (cause) {
      await scope;
      const messages = (await module.getCompilationInfo()).messages.map(
        (m) => `${m.lineNum}:${m.linePos} ${m.message}`,
      );
      throw new DeviceValidationError(`kernel ${label} does not compile: ${messages.join("; ") || String(cause)}`, {
        cause,
      });
    }
  }

  /**
   * Runs commands so that whatever the driver objects to becomes a typed error that begins with `where`.
   * Throws DeviceValidationError, DeviceOutOfMemory or DeviceLost.
   */
  async scope<T>(where: string, commands: () => T): Promise<T> {
    this.assertAlive();
    this.gpu.pushErrorScope("out-of-memory");
    this.gpu.pushErrorScope("validation");
    let result: T;
    let errors: Promise<(GPUError | null)[]>;
    try {
      result = commands();
    } finally {
      errors = Promise.all([this.gpu.popErrorScope(), this.gpu.popErrorScope()]);
      errors.catch(() => undefined);
    }
    const [validation, memory] = await this.settle(errors);
    this.assertAlive();
    if (memory) throw new DeviceOutOfMemory(`${where}: ${memory.message} (${this.liveBytes} bytes in use)`);
    if (validation) throw new DeviceValidationError(`${where}: ${validation.message}`);
    return result;
  }

  /** Resolves when all submitted work is done. */
  async idle(): Promise<void> {
    await this.settle(this.gpu.queue.onSubmittedWorkDone());
    this.assertAlive();
  }

  /**
   * Awaits a device promise. Dawn's binding polls in a busy loop while one is pending, which takes a core from a driver that runs
   * on the CPU (1.4x slower on two cores), so there the thread sleeps between polls.
   */
  async settle<T>(promise: Promise<T>): Promise<T> {
    this.#track(promise);
    if (!this.capabilities.isSoftware) return promise;
    let done = false;
    const finish = (): void => {
      done = true;
    };
    promise.then(finish, finish);
    // Short waits first: most scopes and small reads end within a few turns of the event loop.
    for (let turn = 0; !done; turn++) {
      if (turn > 8) Atomics.wait(sleeper, 0, 0, turn > 64 ? 2 : 0.2);
      await new Promise<void>((resume) => setImmediate(resume));
    }
    return promise;
  }

  assertAlive(): void {
    if (this.#lost !== undefined) throw new DeviceLost(`the device was lost: ${this.#lost}`);
  }

  #lose(reason: string): void {
    if (this.#lost !== undefined) return; // the first reason is the cause of the others
    this.#lost = reason;
    this.#resolveLost(new DeviceLost(`the device was lost: ${this.#lost}`));
  }

  /** Frees everything. The device cannot be used afterwards. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#inFlight);
    this.#lost ??= "it was closed";
    this.gpu.destroy();
  }

  // A pending promise must keep device, adapter and buffers reachable, or Dawn rejects it when they are collected.
  #track(promise: Promise<unknown>): void {
    this.#inFlight.add(promise);
    const done = (): void => {
      this.#inFlight.delete(promise);
      void this.#gpuRoot;
      void this.#adapter;
    };
    promise.then(done, done);
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));
