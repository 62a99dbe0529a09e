/** Comparing what was computed with what the case says, quantity by quantity. */
import { type TensorData, writeSafetensors } from "@graft/core/io";

export interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
  /** Share of the elements that must be within atol; the rest within hardAtol (optimizer results). */
  readonly fractionRequired?: number;
  readonly hardAtol?: number;
}

export interface QuantityReport {
  readonly quantity: string;
  readonly tensors: number;
  /** Largest |got - want|. */
  readonly worst: number;
  readonly worstAt: string;
  readonly tolerance: string;
  readonly passed: boolean;
}

export interface CaseReport {
  readonly id: string;
  readonly passed: boolean;
  readonly quantities: readonly QuantityReport[];
  /** Why something in the case was not computed. */
  readonly skipped: readonly string[];
  readonly seconds: number;
}

interface Running {
  tensors: number;
  worst: number;
  worstAt: string;
  passed: boolean;
  tolerance: string;
}

/** Collects comparisons and the tensors to dump. */
export class Recorder {
  readonly skipped: string[] = [];
  #quantities = new Map<string, Running>();
  #dump = new Map<string, TensorData>();

  /** Compares floats. `isCompared` leaves elements out (padding). */
  floats(
    quantity: string,
    name: string,
    got: ArrayLike<number>,
    want: { readonly data: ArrayLike<number>; readonly shape: readonly number[] },
    tolerance: Tolerance,
    isCompared: (index: number) => boolean = () => true,
  ): void {
    this.keep(name, got, want.shape);
    const running = this.#start(quantity, describe(tolerance));
    if (got.length !== want.data.length)
      return this.#fail(running, `${name}: ${got.length} values, expected ${want.data.length}`);
    let compared = 0;
    let within = 0;
    for (let i = 0; i < got.length; i++) {
      if (!isCompared(i)) continue;
      compared++;
      const [g, w] = [got[i]!, want.data[i]!];
      const difference = g === w ? 0 : Math.abs(g - w);
      // NaN compares as infinitely far.
      const error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
      if (error > running.worst) {
        running.worst = error;
        running.worstAt = `${name}[${i}]`;
      }
      if (error <= tolerance.atol + tolerance.rtol * Math.abs(w)) within++;
      else if (tolerance.hardAtol === undefined || error > tolerance.hardAtol) running.passed = false;
    }
    if (tolerance.fractionRequired !== undefined && within < tolerance.fractionRequired * compared)
      running.passed = false;
  }

  /** Compares tokens exactly. */
  tokens(
    quantity: string,
    name: string,
    got: Int32Array,
    want: { readonly data: Int32Array; readonly shape: readonly number[] },
  ): void {
    this.#dump.set(name, {
      dtype: "I32",
      shape: want.data.length === got.length ? want.shape : [got.length],
      bytes: new Uint8Array(got.slice().buffer),
    });
    const running = this.#start(quantity, "exact");
    if (got.length !== want.data.length)
      return this.#fail(running, `${name}: ${got.length} tokens, expected ${want.data.length}`);
    for (let i = 0; i < got.length; i++) {
      if (got[i] === want.data[i]) continue;
      this.#fail(running, `${name}[${i}]: ${got[i]}, expected ${want.data[i]}`);
      return;
    }
  }

  /** Something computed that the case has no value for. What was computed in double precision is dumped so. */
  keep(name: string, values: ArrayLike<number>, shape: readonly number[]): void {
    const isDouble = values instanceof Float64Array;
    const array = isDouble ? values : Float32Array.from(values);
    this.#dump.set(name, {
      dtype: isDouble ? "F64" : "F32",
      shape: array.length === shape.reduce((a, b) => a * b, 1) ? shape : [array.length],
      bytes: new Uint8Array(array.slice().buffer),
    });
  }

  skip(reason: string): void {
    this.skipped.push(reason);
  }

  get quantities(): QuantityReport[] {
    return [...this.#quantities].map(([quantity, running]) => ({ quantity, ...running }));
  }

  writeDump(path: string): void {
    writeSafetensors(path, this.#dump, { format: "pt" });
  }

  #start(quantity: string, tolerance: string): Running {
    const running = this.#quantities.get(quantity) ?? { tensors: 0, worst: 0, worstAt: "", passed: true, tolerance };
    running.tensors++;
    this.#quantities.set(quantity, running);
    return running;
  }

  #fail(running: Running, at: string): void {
    running.passed = false;
    running.worst = Number.POSITIVE_INFINITY;
    running.worstAt = at;
  }
}

function describe({ atol, rtol, fractionRequired, hardAtol }: Tolerance): string {
  const plain = `${atol.toExponential(1)}${rtol > 0 ? ` + ${rtol.toExponential(0)}|x|` : ""}`;
  return fractionRequired === undefined ? plain : `${plain} for ${fractionRequired * 100} %, ${hardAtol} for all`;
}
