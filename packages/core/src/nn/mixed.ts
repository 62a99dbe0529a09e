/** One pass over rows that have different adapters, or none. */
import { StackError } from "../errors/index.ts";
import { type Graph, sizeOf, type Tensor } from "../graph/graph.ts";
import { reshape, selectRows } from "../ops/index.ts";
import { type Adapter, attach } from "./adapter.ts";
import type { Hooks } from "./site.ts";

/** The adapters of a mixed pass. */
export interface AdapterMix {
  /** Adapters that differ in values alone, `capacity` of them side by side: params stack/F/KEY, input group/F [rows] i32 (place of a row's adapter; negative: not of these). */
  readonly stacks: readonly { readonly adapter: Adapter; readonly capacity: number }[];
  /** Adapters that run on all rows and are taken where they belong: params adapter/J/KEY, input own/J [rows] i32 (the row's number; negative: not of this one). */
  readonly selected: readonly Adapter[];
}

/** Hooks of a mix. Throws StackError if an adapter does not go with others: it changes whole parameters, or what a block reads. */
export function mixedHooks(mix: AdapterMix, graph: Graph, rows: number): Hooks[] {
  const stacked = mix.stacks.map(({ adapter, capacity }, f): Hooks => {
    const group = graph.input(`group/${f}`, [rows], "i32");
    const shapes = new Map(adapter.parameters.map((p) => [p.key, p.shape]));
    return asWritten(
      adapter.hooks({
        graph,
        seed: undefined,
        parameter: (key) => graph.stack(`stack/${f}/${key}`, capacity, shapes.get(key)!, group),
      }),
    );
  });
  const selected = mix.selected.map((adapter, j) =>
    onOwnRows(asWritten(attach(adapter, graph, `${j}`)), graph.input(`own/${j}`, [rows], "i32")),
  );
  return [...stacked, ...selected];
}

/** Refuses what cannot be done row by row. */
function asWritten(hooks: Hooks): Hooks {
  return {
    ...hooks,
    parameter(name, stored) {
      if (hooks.parameter?.(name, stored)) throw new StackError(`${name} is replaced as a whole`);
      return undefined;
    },
    linear(site, x, f, weight) {
      if (!hooks.linear) return f(x);
      const plain = once(f);
      const y = hooks.linear(site, x, plain, weight);
      // The rows of the output layer are those whose next token is asked for, not all.
      if (site.isHead && y !== plain(x)) throw new StackError(`${site.name} is the output layer`);
      return y;
    },
    branch(site, x, f, residual) {
      if (!hooks.branch) return f(x);
      // A block on another input would write other keys into the cache, for every row.
      const own = once(f);
      return hooks.branch(
        site,
        x,
        (input) => {
          if (input !== x) throw new StackError(`${site.name} reads a changed input`);
          return own(input);
        },
        residual,
      );
    },
  };
}

/** The same hooks, their results taken in the rows `own` names. */
function onOwnRows(hooks: Hooks, own: Tensor): Hooks {
  const choose = (theirs: Tensor, ours: Tensor): Tensor => {
    if (theirs === ours) return ours;
    const flat = (t: Tensor) => reshape(t, [t.shape[0]!, sizeOf(t.shape.slice(1))]);
    return reshape(selectRows(flat(theirs), flat(ours), own), theirs.shape);
  };
  return {
    linear(site, x, f, weight) {
      if (!hooks.linear) return f(x);
      const plain = once(f);
      const ours = hooks.linear(site, x, plain, weight);
      return choose(plain(x), ours);
    },
    embedding(site, ids, f) {
      if (!hooks.embedding) return f(ids);
      const plain = once(f);
      const ours = hooks.embedding(site, ids, plain);
      return choose(plain(ids), ours);
    },
    branch(site, x, f, residual) {
      if (!hooks.branch) return f(x);
      const plain = once(f);
      const ours = hooks.branch(site, x, plain, residual);
      return choose(plain(x), ours);
    },
    keysValues(layer, k, v, ids) {
      const ours = hooks.keysValues?.(layer, k, v, ids);
      return ours ? { k: choose(k, ours.k), v: choose(v, ours.v) } : { k, v };
    },
    ...(hooks.parameter ? { parameter: hooks.parameter } : {}),
  };
}

/** f, computed once for each input. */
export function once(f: (x: Tensor) => Tensor): (x: Tensor) => Tensor {
  const known = new Map<Tensor, Tensor>();
  return (x) => {
    const found = known.get(x) ?? f(x);
    known.set(x, found);
    return found;
  };
}
