/** Matrix product with tiles in workgroup memory, for GPUs. */

const THREADS = 16; // 16 x 16 threads
const DEPTH = 16;

/** Each of 16 x 16 threads owns rows x columns elements; a and b pass through workgroup memory DEPTH columns of k at a time. */
export function sharedTileText({
  rows,
  columns,
  wide,
  transB,
}: {
  readonly rows: number;
  readonly columns: number;
  /** b is read four elements at a time, along the rows that it is stored in; these have a multiple of four. */
  readonly wide: boolean;
  readonly transB: boolean;
}): string {
  const tileM = rows * THREADS;
  const tileN = columns * THREADS;
  const each = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));
  return `
var<workgroup> tile_a: array<f32, ${tileM * DEPTH}>;
var<workgroup> tile_b: array<f32, ${tileN * DEPTH}>;
@compute @workgroup_size(${THREADS}, ${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) id: vec3u) {
  let tiles_n = (dims.n + ${tileN - 1}u) / ${tileN}u;
  let tile = workgroup_index(group, groups);
  let row = (tile / tiles_n) * ${tileM}u;
  let col = (tile % tiles_n) * ${tileN}u;
  let lane = id.y * ${THREADS}u + id.x;
  ${each(rows, (r) => each(columns, (c) => `var s${r}_${c} = 0.0;`).join(" ")).join("\n  ")}
  for (var k0 = 0u; k0 < dims.k; k0 += ${DEPTH}u) {
    for (var i = lane; i < ${tileM * DEPTH}u; i += ${THREADS * THREADS}u) {
      let k = k0 + i % ${DEPTH}u;
      let r = row + i / ${DEPTH}u;
      tile_a[(i % ${DEPTH}u) * ${tileM}u + i / ${DEPTH}u] = select(0.0, at_a(index_a(min(r, dims.m - 1u), min(k, dims.k - 1u)), min(k, dims.k - 1u)), r < dims.m && k < dims.k);
    }
    ${wide ? quadsOfB(tileN, transB) : elementsOfB(tileN)}
    workgroupBarrier();
    for (var k = 0u; k < ${DEPTH}u; k++) {
      ${each(rows, (r) => `let a${r} = tile_a[k * ${tileM}u + id.y * ${rows}u + ${r}u];`).join(" ")}
      ${each(columns, (c) => `let b${c} = tile_b[k * ${tileN}u + id.x + ${c * THREADS}u];`).join(" ")}
      ${each(rows, (r) => each(columns, (c) => `s${r}_${c} = fma(a${r}, b${c}, s${r}_${c});`).join(" ")).join("\n      ")}
    }
    workgroupBarrier();
  }
  ${each(rows, (r) => each(columns, (c) => `store(row + id.y * ${rows}u + ${r}u, col + id.x + ${c * THREADS}u, s${r}_${c});`).join(" ")).join("\n  ")}
}
`;
}

function elementsOfB(tileN: number): string {
  return `for (var i = lane; i < ${tileN * DEPTH}u; i += ${THREADS * THREADS}u) {
      let k = k0 + i / ${tileN}u;
      let c = col + i % ${tileN}u;
      tile_b[i] = select(0.0, at_b(index_b(min(k, dims.k - 1u), min(c, dims.n - 1u))), c < dims.n && k < dims.k);
    }`;
}

/** Four steps of a column from [n, k], or four columns of a step from [k, n]: all four are inside or none. */
function quadsOfB(tileN: number, transB: boolean): string {
  const perColumn = DEPTH / 4;
  return `for (var i = lane; i < ${(tileN * DEPTH) / 4}u; i += ${THREADS * THREADS}u) {
      let k = ${transB ? `(i % ${perColumn}u) * 4u` : `i / ${tileN / 4}u`};
      let c = ${transB ? `i / ${perColumn}u` : `(i % ${tileN / 4}u) * 4u`};
      let at = index_b(min(k0 + k, dims.k - ${transB ? 4 : 1}u), min(col + c, dims.n - ${transB ? 1 : 4}u));
      let four = select(vec4f(), at_b4(at / 4u), col + c < dims.n && k0 + k < dims.k);
      for (var j = 0u; j < 4u; j++) { tile_b[${transB ? `(k + j) * ${tileN}u + c` : `k * ${tileN}u + c + j`}] = four[j]; }
    }`;
}
