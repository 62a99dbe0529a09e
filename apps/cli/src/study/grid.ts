/** The cells of a study: every adapter of its grid on every model, for every task, with every seed. */
import { type AdapterConfig, type Base, bindAdapter, methodsByName, newConfig } from "@graft/adapters";
import { ConfigError, suggest } from "@graft/core/errors";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { placementConfig, placementFields, placementName } from "./placement.ts";
import { BASE_TITLE, type Placement, type Study, type StudyModel, type StudyTask, type Variant } from "./schema.ts";

/** An adapter of the grid on one model. */
export interface CellAdapter {
  readonly method: string;
  readonly config: AdapterConfig;
  readonly learningRate: number;
  /** What the study calls it; null where the method's own place is taken. */
  readonly placement: string | null;
  /** The config field that says how large the adapter is. */
  readonly sizeField: string | null;
  readonly trainableParameters: number;
}

export interface Cell {
  readonly model: StudyModel;
  readonly task: StudyTask;
  readonly title: string;
  readonly isReference: boolean;
  /** Undefined: the model alone. */
  readonly adapter: CellAdapter | undefined;
  /** Undefined where nothing is trained. */
  readonly seed: number | undefined;
}

/**
 * Cells model by model, so that each is loaded once. An adapter that several variants of a title ask for is there once. Throws ConfigError or UnknownName
 * naming the variant. `bases`: by model name. `where`: the study's file.
 */
export function cellsOf(study: Study, bases: ReadonlyMap<string, Base>, where: string): Cell[] {
  return study.models.flatMap((model) => {
    const base = bases.get(model.name)!;
    return study.tasks.flatMap((task) => {
      const alone: Cell[] = study.base
        ? [{ model, task, title: BASE_TITLE, isReference: true, adapter: undefined, seed: undefined }]
        : [];
      const adapters = study.variants.flatMap((variant, i) =>
        isFor(variant, model, task)
          ? pointsOf(variant, study).map((point) => ({
              title: variant.title,
              isReference: variant.reference,
              adapter: adapterOf(variant, point, base, `${where}: variants.${i} (${variant.title})`),
            }))
          : [],
      );
      const cells = distinctAdapters(adapters, where).flatMap((own) =>
        study.seeds.map((seed): Cell => ({ model, task, ...own, seed })),
      );
      return [...alone, ...cells];
    });
  });
}

function isFor({ models, tasks }: Variant, model: StudyModel, task: StudyTask): boolean {
  return (models?.includes(model.name) ?? true) && (tasks?.includes(task.name) ?? true);
}

interface Point {
  readonly placement: Placement | undefined;
  readonly learningRate: number;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Every combination, the last named setting changing fastest. */
function pointsOf({ placement, learning_rate, settings }: Variant, { training }: Study): Point[] {
  const spans = Object.entries(settings).map(
    ([field, value]) => [field, Array.isArray(value) ? (value as unknown[]) : [value]] as const,
  );
  const combined = spans.reduce<readonly Readonly<Record<string, unknown>>[]>(
    (points, [field, values]) => points.flatMap((point) => values.map((value) => ({ ...point, [field]: value }))),
    [{}],
  );
  return (placement ?? [undefined]).flatMap((place) =>
    (learning_rate ?? [training.learning_rate]).flatMap((learningRate) =>
      combined.map((own) => ({ placement: place, learningRate, settings: own })),
    ),
  );
}

function adapterOf(
  variant: Variant,
  { placement, learningRate, settings }: Point,
  base: Base,
  where: string,
): CellAdapter {
  const method = methodsByName.get(variant.method)!;
  const placed = placement === undefined ? {} : placementConfig(placement, method, base, where);
  const decided = placement === undefined ? undefined : placementFields.find((field) => field in settings);
  if (decided !== undefined)
    throw new ConfigError(`${where}: placement and settings.${decided} say the same; give one of them`);
  const { config, unused } = newConfig(method, { ...settings, ...placed }, where);
  if (unused[0] !== undefined) {
    const fields = method.config instanceof z.ZodObject ? Object.keys(method.config.shape) : [];
    throw new ConfigError(
      `${where}: settings.${unused[0]} is no setting of ${variant.method}${suggest(unused[0], fields)}`,
    );
  }
  const { parameters } = bindAdapter(config, base, where);
  return {
    method: variant.method,
    config,
    learningRate,
    placement: placement === undefined ? null : placementName(placement),
    sizeField: method.sizeFields?.find((field) => typeof config[field] === "number") ?? null,
    trainableParameters: parameters
      .filter((p) => p.trainable)
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
  };
}

/** The first of those that are the same to training, with what the others know of it. Throws ConfigError if a title has several references. */
function distinctAdapters<
  T extends { readonly title: string; readonly isReference: boolean; readonly adapter: CellAdapter },
>(all: readonly T[], where: string): T[] {
  const isSame = (a: T, b: T): boolean =>
    a.title === b.title &&
    a.adapter.learningRate === b.adapter.learningRate &&
    isDeepStrictEqual(a.adapter.config, b.adapter.config);
  const distinct = all
    .filter((own, i) => all.findIndex((other) => isSame(own, other)) === i)
    .map((own) => {
      const same = all.filter((other) => isSame(own, other));
      const placement = same.find(({ adapter }) => adapter.placement !== null)?.adapter.placement ?? null;
      return { ...own, isReference: same.some((other) => other.isReference), adapter: { ...own.adapter, placement } };
    });
  for (const [i, { title, isReference }] of distinct.entries()) {
    if (isReference && distinct.some((other, at) => at < i && other.title === title && other.isReference))
      throw new ConfigError(`${where}: "${title}" has several references; a reference is one adapter, without lists`);
  }
  return distinct;
}
