/** What adapters made of other adapters share: their parts, under names, in one config and one file. */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import type { AdapterTrace, AfterStep, Hooks } from "@graft/core/nn";
import { add } from "@graft/core/ops";
import { z } from "zod";
import type { Base, BindOther, BoundMethod, ConfigOrigin, ShapeInFile } from "../method.ts";

/** Parts in their order: the first is the innermost. */
export const partsSchema = z
  .array(
    z.looseObject({
      name: z.string().regex(/^[\w-]+$/, "is a word of letters, digits, _ and -"),
      /** adapter_config.json of the part. */
      config: z.looseObject({ peft_type: z.string() }),
      /** Trained with the whole; else as it is. */
      trainable: z.boolean().default(false),
    }),
  )
  .min(1, "needs at least one adapter");
type PartConfig = z.output<typeof partsSchema>[number];

/** A part, bound to the base. */
export interface Part {
  readonly name: string;
  readonly trainable: boolean;
  readonly bound: BoundMethod;
  /** Key in the whole's file of a key in the part's own. */
  key(own: string): string;
}

export interface PartsContext {
  readonly base: Base;
  readonly where: string;
  readonly origin: ConfigOrigin;
  readonly shapeInFile: ShapeInFile | undefined;
  readonly bindOther: BindOther;
}

/** Throws ConfigError for a name that stands twice, and for what the parts' own configs are wrong in. */
export function bindParts(parts: readonly PartConfig[], context: PartsContext): Part[] {
  const { base, where, origin, shapeInFile, bindOther } = context;
  const seen = new Set<string>();
  const bound = parts.map(({ name, config, trainable }): Part => {
    if (seen.has(name)) throw new ConfigError(`${where}: adapters: the name "${name}" stands twice`);
    seen.add(name);
    const key = (own: string) => keyOfPart(name, own);
    const shape = shapeInFile && ((own: string) => shapeInFile(key(own)));
    return { name, trainable, key, bound: bindOther(config, base, `${where}: adapter ${name}`, origin, shape) };
  });
  const virtual = bound.filter((part) => (part.bound.virtualTokens ?? 0) > 0);
  if (virtual.length > 1) {
    throw new ConfigError(
      `${where}: ${virtual.map((part) => part.name).join(" and ")} put virtual tokens before a sequence; only one adapter of a composition can`,
    );
  }
  return bound;
}

/** Where the tensor `own` of a part stands in the whole's file. */
export function keyOfPart(name: string, own: string): string {
  return `adapters.${name}.${own}`;
}

/** What a composition is but for its hooks and what is its own. */
export function composed(method: string, parts: readonly Part[]): Omit<BoundMethod, "hooks" | "merge"> {
  const virtualTokens = Math.max(0, ...parts.map((part) => part.bound.virtualTokens ?? 0));
  const trained = parts.filter((part) => part.trainable);
  const mapOf = <V>(of: (bound: BoundMethod) => ReadonlyMap<string, V> | undefined, value: (v: V, part: Part) => V) =>
    new Map(
      parts.flatMap((part) => [...(of(part.bound) ?? [])].map(([own, v]) => [part.key(own), value(v, part)] as const)),
    );
  return {
    method,
    ...(virtualTokens > 0 ? { virtualTokens } : {}),
    startsAsIdentity: parts.every((part) => part.bound.startsAsIdentity),
    parameters: parts.flatMap((part) =>
      part.bound.parameters.map(({ key, shape, trainable }) => ({
        key: part.key(key),
        shape,
        trainable: trainable && part.trainable,
      })),
    ),
    aliases: mapOf(
      (bound) => bound.aliases,
      (own, part) => part.key(own),
    ),
    derived: mapOf(
      (bound) => bound.derived,
      (make) => make,
    ),
    savedBase: [],
    async initialise(random) {
      const values = new Map<string, Float32Array>();
      for (const part of parts)
        for (const [own, value] of await part.bound.initialise(random)) values.set(part.key(own), value);
      return values;
    },
    ...(trained.some((part) => part.bound.penalty) ? { penalty: (trace) => sumOfPenalties(trained, trace)! } : {}),
    ...(trained.some((part) => part.bound.afterStep) ? { afterStep: () => afterStepOf(trained) } : {}),
  };
}

function sumOfPenalties(parts: readonly Part[], trace: AdapterTrace): Tensor | undefined {
  const all = parts.flatMap((part) => part.bound.penalty?.(traceOf(part, trace)) ?? []);
  return all.length > 0 ? all.reduce((a, b) => add(a, b)) : undefined;
}

function afterStepOf(parts: readonly Part[]): AfterStep {
  const all = parts.flatMap((part) => {
    const own = part.bound.afterStep?.();
    return own ? [{ part, own }] : [];
  });
  return {
    async run(step, values) {
      for (const { part, own } of all) {
        await own.run(step, {
          parameter: (key) => values.parameter(part.key(key)),
          gradient: (key) => values.gradient(part.key(key)),
          write: (key, value) => values.write(part.key(key), value),
        });
      }
    },
    state: () =>
      new Map(
        all.flatMap(({ part, own }) => [...own.state()].map(([name, value]) => [part.key(name), value] as const)),
      ),
    restore(state) {
      for (const { part, own } of all) {
        const start = part.key("");
        own.restore(
          new Map([...state].flatMap(([name, v]) => (name.startsWith(start) ? [[name.slice(start.length), v]] : []))),
        );
      }
    },
  };
}

function traceOf(part: Part, trace: AdapterTrace): AdapterTrace {
  return { ...trace, parameter: (own) => trace.parameter(part.key(own)) };
}

/** The hooks of each part for one trace. */
export function hooksOf(parts: readonly Part[], trace: AdapterTrace): Hooks[] {
  return parts.map((part) => part.bound.hooks(traceOf(part, trace)));
}
