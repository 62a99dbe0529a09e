/** Choosing the tile of matrix products by trying: at first use, kept on disk. Tiles change no result, only its time (sums run in the order of k in all of them). */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Candidate, timeKernels } from "./bench.ts";
import type { Capabilities, Device } from "./device.ts";
import { type Kernel, kernelText } from "./kernel.ts";
import {
  chooseTile,
  matmul,
  type MatmulStatics,
  type MatmulTile,
  PLAIN_MATMUL,
  sharedTile,
  tileKey,
} from "./kernels/matmul.ts";
import { BLOCK, weightStorages, type WeightType } from "./weight-storage.ts";

/** A call that may be tuned; others are passed over. */
export interface TunableCall {
  readonly kernel: Kernel;
  readonly statics: Readonly<Record<string, unknown>>;
  readonly dims: Readonly<Record<string, number>>;
}

/** A candidate must be so much faster than the rule's choice to replace it: timings are noisy. */
const HYSTERESIS = 0.9;
/** Candidates that take longer to compile are not worth it. */
const COMPILE_BUDGET_SECONDS = 2;

export class Tuner {
  #device: Device;
  #path: string | undefined;
  #tiles: Map<string, MatmulTile>;

  /** `cacheDir` undefined: nothing is kept. A damaged cache file is made anew. */
  constructor(device: Device, tiles: Map<string, MatmulTile>, cacheDir: string | undefined) {
    this.#device = device;
    this.#tiles = tiles;
    this.#path = cacheDir === undefined ? undefined : join(cacheDir, `tuning-${fingerprint(device)}.json`);
    if (this.#path === undefined) return;
    try {
      const stored = JSON.parse(readFileSync(this.#path, "utf8")) as Record<string, MatmulTile>;
      for (const [key, tile] of Object.entries(stored)) if (isTile(tile)) tiles.set(key, tile);
    } catch {
      // No file yet, or one that was cut off: both mean that nothing is known.
    }
  }

  /** Tunes what is not known yet among the calls. Returns whether anything was learned: then plans are made again. */
  async tune(calls: readonly TunableCall[]): Promise<boolean> {
    const open = new Map<string, TunableCall>();
    for (const call of calls) {
      if (call.kernel !== (matmul as unknown as Kernel)) continue;
      const key = keyOf(call);
      if (!this.#tiles.has(key)) open.set(key, call);
    }
    for (const [key, call] of open) this.#tiles.set(key, await this.#best(call));
    if (open.size > 0) this.#save();
    return open.size > 0;
  }

  async #best({ statics, dims }: TunableCall): Promise<MatmulTile> {
    const own = statics as MatmulStatics;
    const { m, n, k } = dims as { m: number; n: number; k: number };
    const problem = { m, n, k, transB: own.transB, bType: own.bType };
    const { tiles: _, ...bare } = this.#device.capabilities;
    const prior = chooseTile(problem, { ...bare, tiles: new Map() });
    const candidates = candidateTiles(problem, this.#device.capabilities, prior);
    const timings = await timeKernels(
      this.#device,
      candidates.map((tile, i): Candidate => ({
        name: `tile ${i}`,
        kernel: matmul as unknown as Kernel,
        statics: { ...own, ...tile },
        dims,
      })),
      { rounds: 3, targetMs: 4 },
    );
    let best = 0;
    for (const [i, { seconds, firstSeconds }] of timings.entries()) {
      if (i === 0 || firstSeconds > COMPILE_BUDGET_SECONDS) continue;
      const limit = best === 0 ? HYSTERESIS * timings[0]!.seconds : timings[best]!.seconds;
      if (seconds < limit) best = i;
    }
    return candidates[best]!;
  }

  #save(): void {
    if (this.#path === undefined) return;
    mkdirSync(dirname(this.#path), { recursive: true });
    const temporary = `${this.#path}.${process.pid}.tmp`;
    writeFileSync(temporary, JSON.stringify(Object.fromEntries(this.#tiles), null, 1));
    renameSync(temporary, this.#path);
  }
}

/** The rule's choice first. */
function candidateTiles(
  problem: { m: number; n: number; k: number; transB: boolean; bType: WeightType },
  capabilities: Capabilities,
  prior: MatmulTile,
): MatmulTile[] {
  const { subgroups, subgroupMinSize: size, subgroupMaxSize, isSoftware } = capabilities;
  const tiles: MatmulTile[] = [prior];
  const add = (tile: MatmulTile): void => {
    if (!tiles.some((other) => JSON.stringify(other) === JSON.stringify(tile))) tiles.push(tile);
  };
  if (subgroups && size === subgroupMaxSize) {
    const { m, n, k, transB, bType } = problem;
    const rowLength = transB ? k : n;
    const canBeWide = rowLength % 4 === 0;
    const isInBlocks = weightStorages[bType].scaled === "block" && rowLength % BLOCK === 0;
    for (const rows of [1, 4, 8, 16]) {
      if (rows > 1 && rows >= 2 * m) continue;
      for (const [columns, depth, wide] of [
        [1, 4, false],
        [2, 4, false],
        [1, 8, true],
        [4, 1, true],
        [4, 4, true],
        [8, 1, true],
        [16, 1, true],
      ] as const) {
        const fits = depth <= size && (!wide || (canBeWide && (transB ? depth : columns) % 4 === 0));
        const alignedBlocks = wide && isInBlocks;
        if (fits) add({ variant: "subgroup", rows, columns, depth, wide, alignedK: k % depth === 0, alignedBlocks });
      }
    }
  }
  // Workgroup memory and barriers only cost on a driver that runs on the CPU, and take seconds to compile there.
  if (!isSoftware)
    for (const [rows, columns] of [
      [1, 4],
      [2, 4],
      [4, 4],
      [8, 4],
    ] as const)
      add({ ...sharedTile(problem), rows, columns });
  return tiles;
}

function keyOf({ statics, dims }: TunableCall): string {
  const { transA, transB, bType } = statics as MatmulStatics;
  return tileKey({ m: dims.m!, n: dims.n!, k: dims.k!, transA, transB, bType });
}

/** Adapter, driver, features and the kernel's text: any change makes old timings worthless. */
function fingerprint(device: Device): string {
  const statics: MatmulStatics = {
    ...PLAIN_MATMUL,
    variant: "shared",
    rows: 4,
    columns: 4,
    depth: 16,
    wide: false,
    alignedK: false,
    alignedBlocks: false,
  };
  const text = kernelText(matmul as unknown as Kernel, statics, device.capabilities);
  const { tiles: _, ...capabilities } = device.capabilities;
  return createHash("sha256")
    .update(JSON.stringify([device.info, device.features, capabilities, text]))
    .digest("hex")
    .slice(0, 16);
}

function isTile(value: unknown): value is MatmulTile {
  const { variant, rows, columns, depth, wide, alignedK, alignedBlocks } = (value ?? {}) as Record<string, unknown>;
  const isSize = (n: unknown) => typeof n === "number" && Number.isInteger(n) && n >= 1 && n <= 32;
  return (
    (variant === "subgroup" || variant === "shared") &&
    [rows, columns, depth].every(isSize) &&
    typeof wide === "boolean" &&
    typeof alignedK === "boolean" &&
    typeof alignedBlocks === "boolean"
  );
}
