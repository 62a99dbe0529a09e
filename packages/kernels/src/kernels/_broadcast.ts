/** Passing one lane's value to all lanes: by subgroup where its size is fixed, else through workgroup memory. */
import type { Capabilities } from "../device.ts";

export interface Broadcast {
  /** Threads of a workgroup. */
  readonly lanes: number;
  /** Text before the entry point. */
  readonly header: string;
  /** Statement that offers `value` of every lane under `name`. Uniform control flow only. */
  stage(name: string, value: string): string;
  /** The value that lane `index` (a constant) offered under `name`. */
  get(name: string, index: number): string;
}

export function broadcast(capabilities: Capabilities): Broadcast {
  if (capabilities.subgroups && capabilities.subgroupMinSize === capabilities.subgroupMaxSize) {
    return {
      lanes: capabilities.subgroupMinSize,
      header: "enable subgroups;\n",
      stage: (name, value) => `let ${name} = ${value};`,
      get: (name, index) => `subgroupBroadcast(${name}, ${index}u)`,
    };
  }
  const lanes = 32;
  return {
    lanes,
    header: `var<workgroup> staged: array<f32, ${lanes}>;\n`,
    stage: (_name, value) => `workgroupBarrier(); staged[lane] = ${value}; workgroupBarrier();`,
    get: (_name, index) => `staged[${index}]`,
  };
}

/**
 * Unrolled loop over the columns of a row that all lanes read: lanes load one column each, `body(d, element)` sees every column.
 * `at` is the WGSL index of column 0.
 */
export function eachColumn(
  b: Broadcast,
  buffer: string,
  at: string,
  columns: number,
  body: (d: number, element: string) => string,
): string {
  const chunks: string[] = [];
  for (let begin = 0; begin < columns; begin += b.lanes) {
    const name = `${buffer}_${begin}`;
    const index =
      begin + b.lanes <= columns ? `${at} + ${begin}u + lane` : `${at} + min(${begin}u + lane, ${columns - 1}u)`;
    chunks.push(b.stage(name, `${buffer}[${index}]`));
    for (let d = begin; d < Math.min(columns, begin + b.lanes); d++) chunks.push(body(d, b.get(name, d - begin)));
  }
  return chunks.join("\n    ");
}
