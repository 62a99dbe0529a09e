/** Reading weights stored as f32, or as f16 or bf16 packed two to a u32. */
import type { HostArray } from "../kernel.ts";

export type WeightType = "f32" | "f16" | "bf16";

/** WGSL `fn at_NAME(i)`: element i of buffer NAME as f32. Exact: both packed types widen without rounding. */
export function packedLoad(name: string, type: WeightType): string {
  const load = {
    f32: `return ${name}[i];`,
    f16: `return unpack2x16float(${name}[i >> 1u])[i & 1u];`,
    bf16: `return bitcast<f32>((${name}[i >> 1u] >> ((i & 1u) * 16u)) << 16u);`,
  };
  return `fn at_${name}(i: u32) -> f32 { ${load[type]} }`;
}

/** WGSL `fn at_NAME4(i)`: elements 4 i to 4 i + 3. The buffer is bound as `quadType`. */
export function packedQuadLoad(name: string, type: WeightType): string {
  const load = {
    f32: `return ${name}[i];`,
    f16: `let two = ${name}[i]; return vec4f(unpack2x16float(two.x), unpack2x16float(two.y));`,
    bf16: `let two = ${name}[i]; return bitcast<vec4f>(vec4u(two.x << 16u, two.x & 0xffff0000u, two.y << 16u, two.y & 0xffff0000u));`,
  };
  return `fn at_${name}4(i: u32) -> vec4f { ${load[type]} }`;
}

/** Four weights as one element of a binding. */
export function quadType(type: WeightType): "vec4<f32>" | "vec2<u32>" {
  return type === "f32" ? "vec4<f32>" : "vec2<u32>";
}

/** The same on the host. */
export function readPacked(array: HostArray, i: number, type: WeightType): number {
  if (type === "f32") return array[i]!;
  const half = (array[i >> 1]! >>> ((i & 1) * 16)) & 0xffff;
  if (type === "bf16") {
    scratch.setUint32(0, half << 16);
    return scratch.getFloat32(0);
  }
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return half & 0x8000 ? -magnitude : magnitude;
}
const scratch = new DataView(new ArrayBuffer(4));
