/** What a kernel is: a typed definition with its WGSL text, its CPU reference, its test cases and its cost. */
import type { BufferWindow, Capabilities, Device } from "./device.ts";
import { KernelError } from "./errors.ts";

/** What must be in the text: dtype, tile, epsilon. Part of the pipeline's cache key by being in the text. */
export type Statics = Readonly<Record<string, string | number | boolean>>;
/** What may change from call to call: sizes and plain numbers, passed in a uniform buffer. */
export type Dims<D extends string = string> = Readonly<Record<D, number>>;

/** Vectors let a lane load several elements at once; sizes are counted in single elements all the same. */
export type ElementType = "f32" | "u32" | "i32" | "vec4<f32>" | "vec2<u32>";
export interface Binding {
  /** Element type in WGSL; packed dtypes (two f16 or bf16) are "u32". */
  readonly type: ElementType;
  readonly access: "read" | "read_write";
}

/** References run on device types in the kernel suite and on doubles in the float64 interpreter. */
export type HostArray = Float32Array | Uint32Array | Int32Array | Float64Array;

/** The array that holds elements of a binding on the host. */
export function hostArrayOf(type: ElementType) {
  if (type.includes("f32")) return Float32Array;
  return type === "i32" ? Int32Array : Uint32Array;
}

export interface KernelCost {
  readonly flops: number;
  /** Bytes read and written at least once. */
  readonly bytes: number;
}

export interface KernelCase<S extends Statics = Statics, D extends string = string, B extends string = string> {
  readonly name: string;
  readonly statics: S;
  readonly dims: Dims<D>;
  /** Contents of a buffer at the start; buffers not named here get seeded noise in (-1, 1) (f32) or zeros (integers). */
  readonly fill?: Partial<Record<B, (index: number) => number>>;
  /** Allowed difference |got - want| <= atol + rtol * |want|; default 1e-5, 1e-5. */
  readonly tolerance?: { readonly atol: number; readonly rtol: number };
}

/** A call of the size that models make, for timing. */
export type CallAtScale<S extends Statics = Statics, D extends string = string, B extends string = string> = Pick<
  KernelCase<S, D, B>,
  "statics" | "dims" | "fill"
>;

/**
 * A compute kernel. Methods rather than function properties, so that a kernel of particular statics fits the registry's `Kernel`.
 * The header (struct Dims, bindings in the order of `bindings`, `fn workgroup_index()`) is written by `kernelText`; `wgsl` writes the rest, with one
 * entry point `main`.
 */
export interface Kernel<S extends Statics = Statics, D extends string = string, B extends string = string> {
  readonly name: string;
  readonly dims: Readonly<Record<D, "u32" | "f32">>;
  bindings(statics: S): Readonly<Record<B, Binding>>;
  wgsl(statics: S, capabilities: Capabilities): string;
  /** Number of workgroups; a plain number is spread over x and y when it passes the limit of one dimension (use `workgroup_index`). */
  grid(dims: Dims<D>, statics: S, capabilities: Capabilities): number | readonly [number, number, number];
  /** Elements (of 4 bytes) that each buffer must hold. */
  sizes(dims: Dims<D>, statics: S): Readonly<Record<B, number>>;
  /** Plain loops in double precision; writes the outputs in place. */
  reference(buffers: Readonly<Record<B, HostArray>>, dims: Dims<D>, statics: S): void;
  cost(dims: Dims<D>, statics: S): KernelCost;
  /** What `graft bench` times; undefined for what is no part of a model. */
  readonly atScale: CallAtScale<S, D, B> | undefined;
  readonly cases: readonly KernelCase<S, D, B>[];
}

export function defineKernel<S extends Statics, D extends string, B extends string>(
  kernel: Kernel<S, D, B>,
): Kernel<S, D, B> {
  return kernel;
}

/** One call of a kernel, buffers still to be named by the caller. */
export interface KernelCall<Ref> {
  readonly kernel: Kernel;
  readonly statics: Statics;
  readonly dims: Dims;
  /** In any order; each binding of the kernel exactly once. */
  readonly buffers: Readonly<Record<string, Ref>>;
}

/** The whole WGSL text of a kernel for given statics. */
export function kernelText(kernel: Kernel, statics: Statics, capabilities: Capabilities): string {
  const fields = Object.entries(kernel.dims).map(([name, type]) => `  ${name}: ${type},`);
  const bindings = Object.entries(kernel.bindings(statics)).map(
    ([name, { type, access }], i) => `@group(0) @binding(${i + 1}) var<storage, ${access}> ${name}: array<${type}>;`,
  );
  const body = kernel.wgsl(statics, capabilities);
  const enables = [...body.matchAll(/^\s*(?:enable|requires) [^;]+;/gm)].map((m) => m[0].trim());
  return [
    ...enables,
    `// ${kernel.name} ${JSON.stringify(statics)}`,
    `struct Dims {\n${fields.join("\n")}\n}`,
    "@group(0) @binding(0) var<uniform> dims: Dims;",
    ...bindings,
    // A grid given as one number may have been folded over two dimensions.
    "fn workgroup_index(id: vec3u, count: vec3u) -> u32 { return id.x + id.y * count.x; }",
    body.replace(/^\s*(?:enable|requires) [^;]+;/gm, ""),
  ].join("\n");
}

/** Bind group layout that belongs to kernelText: binding 0 is Dims, then the buffers in order. */
export function kernelLayout(kernel: Kernel, statics: Statics): GPUBindGroupLayoutDescriptor {
  return {
    label: kernel.name,
    entries: [
      { binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } },
      ...Object.values(kernel.bindings(statics)).map(({ access }, i) => ({
        binding: i + 1,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: access === "read" ? ("read-only-storage" as const) : ("storage" as const) },
      })),
    ],
  };
}

/** Bytes of the uniform buffer that holds `dims`, in declaration order. */
export function packDims(kernel: Kernel, dims: Dims): ArrayBuffer {
  const names = Object.keys(kernel.dims);
  const bytes = new DataView(new ArrayBuffer(Math.max(16, Math.ceil(names.length / 4) * 16)));
  names.forEach((name, i) => {
    const value = dims[name];
    if (value === undefined || !Number.isFinite(value))
      throw new KernelError(`kernel ${kernel.name}: dim ${name} is ${value}`);
    if (kernel.dims[name] === "f32") bytes.setFloat32(i * 4, value, true);
    else if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) bytes.setUint32(i * 4, value, true);
    else throw new KernelError(`kernel ${kernel.name}: dim ${name} must be an integer of 32 bits, is ${value}`);
  });
  return bytes.buffer;
}

/** Grid of a call as three numbers. Throws KernelError when it cannot be dispatched. */
export function gridOf(
  kernel: Kernel,
  dims: Dims,
  statics: Statics,
  capabilities: Capabilities,
): readonly [number, number, number] {
  const max = capabilities.limits.maxComputeWorkgroupsPerDimension;
  const grid = kernel.grid(dims, statics, capabilities);
  if (typeof grid === "number") {
    if (grid <= max) return [grid, 1, 1];
    // Rounded up, so kernels must check their index against dims.
    const rows = Math.ceil(grid / max);
    return [Math.ceil(grid / rows), rows, 1];
  }
  if (grid.some((n) => n > max))
    throw new KernelError(`kernel ${kernel.name}: grid [${grid}] is over ${max} in one dimension`);
  return grid;
}

/** A call ready to be encoded: pipeline, bind group and grid. */
export interface Dispatch {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly grid: readonly [number, number, number];
}

export interface DimsArena {
  readonly window: (index: number) => BufferWindow;
  readonly destroy: () => void;
}

/** Bytes of one call's dims in a DimsArena: the largest alignment any device asks of uniform offsets. */
export const DIMS_STRIDE = 256;

/** Puts the dims of many calls into one uniform buffer. */
export function uploadDims(device: Device, calls: readonly KernelCall<unknown>[], label: string): DimsArena {
  const stride = DIMS_STRIDE;
  const all = new Uint8Array(Math.max(1, calls.length) * stride);
  calls.forEach((call, i) => {
    const bytes = new Uint8Array(packDims(call.kernel, call.dims));
    if (bytes.length > stride) throw new KernelError(`kernel ${call.kernel.name} has more than ${stride / 4} dims`);
    all.set(bytes, i * stride);
  });
  const buffer = device.createBuffer(all.length, `dims of ${label}`, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
  device.write(buffer, all);
  return { window: (i) => ({ buffer, offset: i * stride, size: stride }), destroy: () => buffer.destroy() };
}

/**
 * Makes pipeline and bind group of a call. Throws KernelError if a buffer is missing, too small for the dims, or over the
 * binding limit; DeviceValidationError if the text does not compile.
 */
export async function prepare(device: Device, call: KernelCall<BufferWindow>, dims: BufferWindow): Promise<Dispatch> {
  const { kernel, statics } = call;
  const layout = kernelLayout(kernel, statics);
  const pipeline = await device.pipeline(kernelText(kernel, statics, device.capabilities), kernel.name, layout);
  return bindCall(device, call, dims, pipeline);
}

function bindCall(
  device: Device,
  call: KernelCall<BufferWindow>,
  dims: BufferWindow,
  pipeline: GPUComputePipeline,
): Dispatch {
  const { kernel, statics } = call;
  const sizes = kernel.sizes(call.dims, statics);
  const max = device.capabilities.limits.maxStorageBufferBindingSize;
  const entries = Object.keys(kernel.bindings(statics)).map((name, i) => {
    const window = call.buffers[name];
    if (!window) throw new KernelError(`kernel ${kernel.name}: buffer ${name} is missing`);
    const need = sizes[name]! * 4;
    const where = `kernel ${kernel.name} ${JSON.stringify(call.dims)}: buffer ${name}`;
    if (window.size < need) throw new KernelError(`${where} has ${window.size} bytes, needs ${need}`);
    if (window.size > max) throw new KernelError(`${where} has ${window.size} bytes, one binding holds ${max}`);
    return { binding: i + 1, resource: { buffer: window.buffer.gpu, offset: window.offset, size: window.size } };
  });
  const bindGroup = device.gpu.createBindGroup({
    label: kernel.name,
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: dims.buffer.gpu, offset: dims.offset, size: dims.size } }, ...entries],
  });
  const grid = gridOf(kernel, call.dims, statics, device.capabilities);
  return { label: kernel.name, pipeline, bindGroup, grid };
}

/** Encodes prepared calls into a pass. */
export function encode(pass: GPUComputePassEncoder, dispatches: readonly Dispatch[]): void {
  let bound: GPUComputePipeline | undefined;
  for (const { pipeline, bindGroup, grid } of dispatches) {
    if (grid[0] === 0 || grid[1] === 0 || grid[2] === 0) continue;
    if (pipeline !== bound) pass.setPipeline(pipeline);
    bound = pipeline;
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
  }
}

/** Runs calls once, in order, and waits. For tests, tools and one-off work; steps are recorded by the graph's programs. */
export async function runOnce(
  device: Device,
  calls: readonly KernelCall<BufferWindow>[],
  label: string,
): Promise<void> {
  const dims = uploadDims(device, calls, label);
  try {
    const dispatches: Dispatch[] = [];
    for (const [i, call] of calls.entries()) dispatches.push(await prepare(device, call, dims.window(i)));
    await device.scope(`${label}: ${[...new Set(calls.map((c) => c.kernel.name))].join(", ")}`, () => {
      const encoder = device.gpu.createCommandEncoder({ label });
      const pass = encoder.beginComputePass({ label });
      encode(pass, dispatches);
      pass.end();
      device.gpu.queue.submit([encoder.finish()]);
    });
    await device.idle();
  } finally {
    dims.destroy();
  }
}
