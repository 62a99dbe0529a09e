/** Reading stored weights in kernels: floats as they are or packed two to a u32, codes four or eight to a u32 with scales in a binding of their own. */
import { type Binding, type ElementType, type HostArray } from "../kernel.ts";
import {
  BLOCK,
  elementWords,
  GROUP_WORDS,
  isQuantized,
  NF4_LEVELS,
  readPacked,
  readScale,
  scaleWords,
  weightStorages,
  type WeightType,
} from "../weight-storage.ts";

export type { WeightType } from "../weight-storage.ts";

/** Bindings of a weight: NAME and, where its type has scales, NAME_scales. `wide`: read several elements at a time. */
export function weightBindings<N extends string>(
  name: N,
  type: WeightType,
  wide = false,
): Record<N | `${N}_scales`, Binding> {
  const { bits, scaled } = weightStorages[type];
  const narrow: ElementType = bits === 32 ? "f32" : "u32";
  return {
    [name]: { type: wide ? quadType(type) : narrow, access: "read" },
    ...(scaled === "no" ? {} : { [`${name}_scales`]: { type: scaled === "block" ? "u32" : "f32", access: "read" } }),
  } as Record<N | `${N}_scales`, Binding>; // the scales' binding is looked at only where it is
}

/** Words that each binding must hold of a matrix whose rows from `begin` on are bound. Scales are those of the whole matrix. */
export function weightSizes<N extends string>(
  name: N,
  type: WeightType,
  { begin = 0, rows, columns }: { readonly begin?: number; readonly rows: number; readonly columns: number },
): Record<N | `${N}_scales`, number> {
  return {
    [name]: elementWords(type, rows * columns),
    [`${name}_scales`]: scaleWords(type, begin + rows, columns),
  } as Record<N | `${N}_scales`, number>;
}

/**
 * WGSL `fn at_NAME(i)`: element i of the bound rows as f32. Exact for floats. `columns` and `begin`: expressions of the matrix' width and of the first row bound, for
 * types with scales.
 */
export function packedLoad(name: string, type: WeightType, columns: string, begin = "0u"): string {
  const { scaled } = weightStorages[type];
  const scale = {
    no: "",
    row: ` * ${name}_scales[${begin} + i / ${columns}]`,
    column: ` * ${name}_scales[i % ${columns}]`,
    block: ` * block_scale_${name}((${begin} * ${columns} + i) / ${BLOCK}u)`,
  }[scaled];
  return `${blockScale(name, type)}${rawLoad(name, type)}
fn at_${name}(i: u32) -> f32 { return raw_${name}(i)${scale}; }`;
}

/** WGSL `fn raw_NAME(i)`: element i before it is scaled. */
export function rawLoad(name: string, type: WeightType): string {
  const int8 = `return f32(i32(${name}[i >> 2u] << (24u - (i & 3u) * 8u)) >> 24u);`;
  const load = {
    f32: `return ${name}[i];`,
    f16: `return unpack2x16float(${name}[i >> 1u])[i & 1u];`,
    bf16: `return bitcast<f32>((${name}[i >> 1u] >> ((i & 1u) * 16u)) << 16u);`,
    int8,
    int8_columns: int8,
    nf4: `return nf4_levels(vec4u(${name}[i >> 3u] >> (4u * ((i & 7u) ^ 1u)))).x;`,
  };
  return `${type === "nf4" ? NF4_WGSL : ""}fn raw_${name}(i: u32) -> f32 { ${load[type]} }\n`;
}

/** WGSL `fn raw_NAME4(i)`: elements 4 i to 4 i + 3 before they are scaled. The buffer is bound as `quadType`. */
export function rawQuadLoad(name: string, type: WeightType): string {
  const int8 = `let four = ${name}[i]; return vec4f(vec4i(vec4u(four << 24u, four << 16u, four << 8u, four)) >> vec4u(24u));`;
  const load = {
    f32: `return ${name}[i];`,
    f16: `let two = ${name}[i]; return vec4f(unpack2x16float(two.x), unpack2x16float(two.y));`,
    bf16: `let two = ${name}[i]; return bitcast<vec4f>(vec4u(two.x << 16u, two.x & 0xffff0000u, two.y << 16u, two.y & 0xffff0000u));`,
    int8,
    int8_columns: int8,
    nf4: `return nf4_quad(${name}[i >> 1u] >> ((i & 1u) * 16u));`,
  };
  return `${type === "nf4" ? NF4_WGSL : ""}fn raw_${name}4(i: u32) -> vec4f { ${load[type]} }\n`;
}

/** WGSL `fn raw_NAME8(i)`: elements 8 i to 8 i + 7 before they are scaled, as `low` and `high`, of a type that has eight in a word; else nothing. After rawQuadLoad. */
export function rawOctetLoad(name: string, type: WeightType): string {
  if (type !== "nf4") return "";
  return `struct Octet { low: vec4f, high: vec4f }
fn raw_${name}8(i: u32) -> Octet { let eight = ${name}[i]; return Octet(nf4_quad(eight), nf4_quad(eight >> 16u)); }
`;
}

/** Four weights as one element of a binding; nf4 has eight in one. */
export function quadType(type: WeightType): ElementType {
  return ({ 32: "vec4<f32>", 16: "vec2<u32>", 8: "u32", 4: "u32" } as const)[weightStorages[type].bits];
}

/** WGSL `fn block_scale_NAME(block)`, for types that are scaled by block: E4M3 code times the group's scale plus its offset. */
export function blockScale(name: string, type: WeightType): string {
  if (weightStorages[type].scaled !== "block") return "";
  return `fn block_scale_${name}(block: u32) -> f32 {
  let at = (block >> 8u) * ${GROUP_WORDS}u;
  let code = ${name}_scales[at + 2u + ((block >> 2u) & 63u)] >> ((block & 3u) * 8u);
  let normal = bitcast<f32>(((code & 0x7fu) << 20u) + 0x3c000000u);
  let magnitude = select(normal, f32(code & 7u) * 0x1p-9, (code & 0x78u) == 0u);
  let value = bitcast<f32>(bitcast<u32>(magnitude) | ((code & 0x80u) << 24u));
  return fma(value, bitcast<f32>(${name}_scales[at]), bitcast<f32>(${name}_scales[at + 1u]));
}
`;
}

/** Levels by their codes' bits, selected rather than looked up: an array with an index that is not known costs a load each. */
const NF4_WGSL: string = (() => {
  const level = (i: number) => `vec4f(${NF4_LEVELS[i]!.toExponential()}f)`;
  const tree = (bit: number, at: number): string =>
    bit < 0 ? level(at) : `select(${tree(bit - 1, at)}, ${tree(bit - 1, at + 2 ** bit)}, b${bit})`;
  return `fn nf4_levels(code: vec4u) -> vec4f {
  ${[0, 1, 2, 3].map((bit) => `let b${bit} = (code & vec4u(${2 ** bit}u)) != vec4u();`).join(" ")}
  return ${tree(3, 0)};
}
fn nf4_quad(codes: u32) -> vec4f { return nf4_levels(vec4u(codes >> 4u, codes, codes >> 12u, codes >> 8u)); }
`;
})();

/** Element (row, column) of a weight on the host; `begin`: the first row that is bound. */
export function readWeightAt(
  { values, scales }: { readonly values: HostArray; readonly scales: HostArray | undefined },
  at: { readonly row: number; readonly column: number; readonly columns: number; readonly begin?: number },
  type: WeightType,
): number {
  const value = readPacked(values, at.row * at.columns + at.column, type);
  return isQuantized(type) ? value * readScale(scales, { ...at, row: at.row + (at.begin ?? 0) }, type) : value;
}
