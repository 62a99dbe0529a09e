/** Matrix product with one subgroup per tile: no workgroup memory, no barrier. */
import type { Capabilities } from "../device.ts";
import { BLOCK } from "../weight-storage.ts";

export interface SubgroupTile {
  readonly rows: number;
  /** Columns of each lane; with `wide` and b as [k, n] a multiple of 4. */
  readonly columns: number;
  /** Steps of k in one turn of the loop; at most the subgroup size; with `wide` and b as [n, k] a multiple of 4. */
  readonly depth: number;
  /** b is read four elements at a time: along k from [n, k], along n from [k, n]. */
  readonly wide: boolean;
  /** k is a multiple of `depth`. */
  readonly alignedK: boolean;
  /** b is scaled by block, and its rows are whole blocks: a block's scale is taken once, not with each load. */
  readonly alignedBlocks: boolean;
  readonly transA: boolean;
  readonly transB: boolean;
}

const each = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));

/**
 * Each lane owns `columns` columns of `rows` rows. For every `depth` steps of k the lanes share the loads of a (a lane has one row and one k) and
 * hand them round by broadcast, so that a is loaded once per tile and b once per `rows`.
 * Loads, not arithmetic, are what a CPU driver pays for, and code that outgrows the instruction cache (docs/kernels.md). Indexes are clamped, never
 * branched on: control flow stays uniform. The sum of an element runs in the order of k whatever the tile.
 */
export function subgroupText(tile: SubgroupTile, capabilities: Capabilities): string {
  const { rows, depth, alignedK } = tile;
  const size = capabilities.subgroupMinSize;
  const a = loadsOfA(tile, size);
  const b = tile.wide ? (tile.transB ? wideAlongK(tile, size) : wideAlongN(tile, size)) : narrow(tile, size);
  return `enable subgroups;
@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tiles_n = (dims.n + ${size * tile.columns - 1}u) / ${size * tile.columns}u;
  let tile = workgroup_index(group, groups);
  let row = (tile / tiles_n) * ${rows}u;
  if (row >= dims.m) { return; }
  let col = (tile % tiles_n) * ${size * tile.columns}u;
  ${alignedK ? "" : "let last = dims.k - 1u;"}
  ${a.before}
  ${b.before}
  ${turns(
    tile,
    b,
    `${a.loads}
    ${each(depth, (step) => `${b.load(step)} ${each(rows, (r) => `let a${r}_${step} = ${a.at(r, step)}; ${b.sum(r, step)}`).join(" ")}`).join("\n    ")}
    ${b.after}`,
  )}
  ${each(rows, b.store).join("\n  ")}
}
`;
}

/** The loop over k, in two where something is done once for each block of a row of b. */
function turns({ depth }: SubgroupTile, { eachBlock }: LoadsOfB, body: string): string {
  if (eachBlock === undefined) return `for (var k0 = 0u; k0 < dims.k; k0 += ${depth}u) {\n    ${body}\n  }`;
  return `for (var block = 0u; block < dims.k; block += ${BLOCK}u) {
    ${eachBlock}
    for (var k0 = block; k0 < block + ${BLOCK}u; k0 += ${depth}u) {\n    ${body}\n    }
  }`;
}

/** One load serves `share` rows: lane = (row of the share, step of k). */
function loadsOfA({ rows, depth, alignedK, transA }: SubgroupTile, size: number) {
  const share = Math.min(rows, size / depth);
  const kOfLane = alignedK ? "k0 + lane_k" : "min(k0 + lane_k, last)";
  const load = (g: number): string => {
    const value = `at_a(${transA ? `(${kOfLane}) * dims.aColumns + a_at${g}` : `a_at${g} + ${kOfLane}`}, ${kOfLane})`;
    return `let a${g} = ${alignedK ? value : `select(0.0, ${value}, k0 + lane_k < dims.k)`};`;
  };
  const stride = transA ? "" : " * dims.aColumns";
  return {
    before: [
      `let lane_k = lane % ${depth}u;`,
      ...each(
        rows / share,
        (g) =>
          `let a_at${g} = min(row + ${g * share}u + (lane / ${depth}u) % ${share}u, dims.m - 1u)${stride} + dims.aOffset;`,
      ),
    ].join("\n  "),
    loads: each(rows / share, load).join("\n    "),
    at: (r: number, step: number) => `subgroupBroadcast(a${Math.floor(r / share)}, ${(r % share) * depth + step}u)`,
  };
}

interface LoadsOfB {
  readonly before: string;
  /** Before the turns of each block of k. */
  readonly eachBlock?: string;
  readonly load: (step: number) => string;
  readonly sum: (row: number, step: number) => string;
  readonly after: string;
  readonly store: (row: number) => string;
}

/** Element by element; the columns of a lane are a subgroup apart. */
function narrow({ rows, columns, depth, transB, alignedK }: SubgroupTile, size: number): LoadsOfB {
  const at = (step: number, c: number): string => {
    if (alignedK) return transB ? `b_at${c} + ${step}u` : `b_at${c} + ${step}u * dims.n`;
    const k = `min(k0 + ${step}u, last)`;
    return transB ? `b_at${c} + ${k}` : `${k} * dims.n + b_at${c}`;
  };
  return {
    before: [
      ...each(
        columns,
        (c) => `var b_at${c} = min(col + ${c * size}u + lane, dims.n - 1u)${transB ? " * dims.k" : ""};`,
      ),
      ...each(rows, (r) => each(columns, (c) => `var s${r}_${c} = 0.0;`).join(" ")),
    ].join("\n  "),
    load: (step) => each(columns, (c) => `let b${step}_${c} = at_b(${at(step, c)});`).join(" "),
    sum: (r, step) => each(columns, (c) => `s${r}_${c} = fma(a${r}_${step}, b${step}_${c}, s${r}_${c});`).join(" "),
    after: alignedK ? each(columns, (c) => `b_at${c} += ${depth}u${transB ? "" : " * dims.n"};`).join(" ") : "",
    store: (r) => each(columns, (c) => `store(row + ${r}u, col + ${c * size}u + lane, s${r}_${c});`).join(" "),
  };
}

/** b as [n, k], k a multiple of 4: a load is four steps of one column, or eight where so many codes lie in a word. */
function wideAlongK({ rows, columns, depth, alignedK, alignedBlocks }: SubgroupTile, size: number): LoadsOfB {
  const span = alignedBlocks && depth % 8 === 0 ? 8 : 4;
  const at = (load: number, c: number) =>
    alignedK ? `b_at${c} + ${load}u` : `b_at${c} + min(k0 / ${span}u + ${load}u, last / ${span}u)`;
  const column = (c: number) => `min(col + ${c * size}u + lane, dims.n - 1u)`;
  const scaled = (c: number) => (alignedBlocks ? ` * scale${c}` : "");
  return {
    before: [
      ...each(columns, (c) => `var b_at${c} = ${column(c)} * (dims.k / ${span}u);`),
      ...(alignedBlocks
        ? each(columns, (c) => `let block_at${c} = (dims.bBegin + ${column(c)}) * (dims.k / ${BLOCK}u);`)
        : []),
      ...each(rows, (r) => each(columns, (c) => `var s${r}_${c} = 0.0;`).join(" ")),
    ].join("\n  "),
    ...(alignedBlocks
      ? {
          eachBlock: each(columns, (c) => `let scale${c} = block_scale_b(block_at${c} + block / ${BLOCK}u);`).join(" "),
        }
      : {}),
    load: (step) =>
      step % span === 0
        ? each(columns, (c) => quads(span, step / span, c, at(step / span, c), scaled(c), alignedBlocks)).join(" ")
        : "",
    sum: (r, step) =>
      each(
        columns,
        (c) => `s${r}_${c} = fma(a${r}_${step}, b${Math.floor(step / 4)}_${c}[${step % 4}], s${r}_${c});`,
      ).join(" "),
    after: alignedK ? each(columns, (c) => `b_at${c} += ${depth / span}u;`).join(" ") : "",
    store: (r) => each(columns, (c) => `store(row + ${r}u, col + ${c * size}u + lane, s${r}_${c});`).join(" "),
  };
}

/** Declares the quads `bQUAD_c` of one load of `span` elements along k. */
function quads(span: number, load: number, c: number, at: string, scaled: string, isRaw: boolean): string {
  if (span === 4) return `let b${load}_${c} = ${isRaw ? "raw_b4" : "at_b4"}(${at})${scaled};`;
  const eight = `e${load}_${c}`;
  return `let ${eight} = raw_b8(${at}); let b${2 * load}_${c} = ${eight}.low${scaled}; let b${2 * load + 1}_${c} = ${eight}.high${scaled};`;
}

/** b as [k, n], n a multiple of 4: a load is four columns of one step, or eight where so many codes lie in a word. */
function wideAlongN(tile: SubgroupTile, size: number): LoadsOfB {
  const { rows, columns, depth, alignedK, alignedBlocks } = tile;
  const span = alignedBlocks && columns % 8 === 0 ? 8 : 4;
  const loads = columns / span;
  const perLoad = span / 4;
  const stepAt = (step: number) => (alignedK ? `${step}u` : `min(k0 + ${step}u, last)`);
  const at = (step: number, c: number) =>
    alignedK ? `b_at${c} + ${step}u * (dims.n / ${span}u)` : `${stepAt(step)} * (dims.n / ${span}u) + b_at${c}`;
  const scales = alignedBlocks ? blockScalesAlongN(tile, size, span) : undefined;
  return {
    before: [
      ...each(loads, (c) => `var b_at${c} = min(col / ${span}u + ${c * size}u + lane, dims.n / ${span}u - 1u);`),
      ...each(rows, (r) => each(columns / 4, (q) => `var s${r}_${q} = vec4f();`).join(" ")),
    ].join("\n  "),
    load: (step) =>
      [
        ...(step === 0 && scales ? [scales.loads] : []),
        ...each(loads, (c) => {
          if (!scales) return `let b${step}_${c} = at_b4(${at(step, c)});`;
          const scale = `let scale${step}_${c} = ${scales.at(step, c)};`;
          if (span === 4) return `${scale} let b${step}_${c} = raw_b4(${at(step, c)}) * scale${step}_${c};`;
          const eight = `e${step}_${c}`;
          return `${scale} let ${eight} = raw_b8(${at(step, c)}); let b${step}_${2 * c} = ${eight}.low * scale${step}_${c}; let b${step}_${2 * c + 1} = ${eight}.high * scale${step}_${c};`;
        }),
      ].join(" "),
    sum: (r, step) =>
      each(columns / 4, (q) => `s${r}_${q} = fma(vec4f(a${r}_${step}), b${step}_${q}, s${r}_${q});`).join(" "),
    after: alignedK ? each(loads, (c) => `b_at${c} += ${depth}u * (dims.n / ${span}u);`).join(" ") : "",
    store: (r) =>
      each(columns / 4, (q) => {
        const [c, j] = [Math.floor(q / perLoad), q % perLoad];
        return each(
          4,
          (i) => `store(row + ${r}u, col + (${c * size}u + lane) * ${span}u + ${4 * j + i}u, s${r}_${q}[${i}]);`,
        ).join(" ");
      }).join(" "),
  };
}

/**
 * Scales of the blocks that a tile's columns lie in, for the steps of a turn: each lane takes one (step, block), the others get it by broadcast. Where a load of the
 * whole subgroup is longer than a block, lanes differ in theirs and ask by shuffle.
 */
function blockScalesAlongN({ columns, depth, alignedK }: SubgroupTile, size: number, span: number) {
  const perStep = Math.ceil((size * columns) / BLOCK);
  const items = depth * perStep;
  const item = (turn: number) => `(lane + ${turn * size}u)`;
  const step = (turn: number) =>
    `min(k0 + min(${item(turn)} / ${perStep}u, ${depth - 1}u), ${alignedK ? "dims.k - 1u" : "last"})`;
  return {
    loads: each(
      Math.ceil(items / size),
      (turn) =>
        `let scale_of${turn} = block_scale_b((dims.bBegin + ${step(turn)}) * (dims.n / ${BLOCK}u) + min(col / ${BLOCK}u + ${item(turn)} % ${perStep}u, dims.n / ${BLOCK}u - 1u));`,
    ).join(" "),
    at(step_: number, c: number): string {
      const first = step_ * perStep + Math.floor((c * size * span) / BLOCK);
      if (size * span <= BLOCK) return `subgroupBroadcast(scale_of${Math.floor(first / size)}, ${first % size}u)`;
      return `subgroupShuffle(scale_of${Math.floor(first / size)}, ${first % size}u + lane / ${BLOCK / span}u)`;
    },
  };
}
