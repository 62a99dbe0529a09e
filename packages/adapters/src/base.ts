/** What methods see of a base, on a device or in files. */
import { type Checkpoint, toFloat32 } from "@graft/core/io";
import { type BaseModel, openModelCheckpoint, readModelConfig, readWeight, sitesOf } from "@graft/core/models";
import type { Site } from "@graft/core/nn";
import type { Base } from "./method.ts";

/** The view of a base that methods bind to. */
export function baseOf(model: BaseModel): Base {
  const { definition, config } = model;
  return makeBase({ definition, config }, (stored) => readWeight(model, stored));
}

/** The view of a model folder, without a device. Only its config.json is read until a weight is asked for. Close it. */
export function openBaseFolder(folder: string): Base & { close(): void } {
  const { definition, config } = readModelConfig(folder);
  let checkpoint: Checkpoint | undefined;
  const base = makeBase({ definition, config }, async (name) => {
    checkpoint ??= openModelCheckpoint(folder, definition, config);
    return toFloat32(checkpoint.read(name), checkpoint.info(name).dtype, `${checkpoint.path}: tensor ${name}`);
  });
  return { ...base, close: () => checkpoint?.close() };
}

/** The same view of weights that are not on a device. `read`: by checkpoint name. */
export function makeBase(
  { definition, config }: Pick<BaseModel, "definition" | "config">,
  read: (stored: string) => Promise<Float32Array>,
): Base {
  const sites = sitesOf({ definition, config });
  const shapes = new Map(definition.parameters(config).map((p) => [p.name, p.shape]));
  const storedOf = storedNames(sites);
  const all = new Set([...shapes.keys(), ...storedOf.keys()]);
  return {
    sites,
    modelType: definition.modelType,
    sizes: config,
    parameters: [...all],
    shapeOf: (name) => shapes.get(storedOf.get(name) ?? name),
    read: (name) => read(storedOf.get(name) ?? name),
  };
}

/** Parameters that are another module's tensor: a tied output layer's weight. */
export function storedNames(sites: readonly Site[]): ReadonlyMap<string, string> {
  return new Map(
    sites.flatMap((site) =>
      site.kind === "linear" && site.weight !== `${site.name}.weight` ? [[`${site.name}.weight`, site.weight]] : [],
    ),
  );
}
