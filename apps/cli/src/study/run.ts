/** A study from its file to results: which cells, what they take, and running those that are not done. */
import { type Base, openBaseFolder } from "@graft/adapters";
import { readRows } from "@graft/core/data";
import { ConfigError, suggest } from "@graft/core/errors";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { totalSteps } from "@graft/core/train";
import { findDataset, type Task } from "@graft/eval";
import type { Device } from "@graft/kernels";
import { UsageError } from "../command.ts";
import { openCommandDevice } from "../device.ts";
import { chosenTasks } from "../eval/chosen-tasks.ts";
import { dataDirsOf } from "../eval/data-dirs.ts";
import { contaminationChecks } from "../eval/contamination.ts";
import { quantizationOf } from "../model-options.ts";
import { resolveModelFolder } from "../resolve-model.ts";
import { fileHash, modelHash } from "../runs/hashes.ts";
import { type CellTools, runCell, storedResult } from "./cell.ts";
import { type Cell, cellsOf } from "./grid.ts";
import { labelCells } from "./labels.ts";
import type { CellResult, StudyResults } from "./results.ts";
import type { Study } from "./schema.ts";

/** What a command line takes of a study, and changes in it. */
interface StudyChanges {
  readonly models?: readonly string[] | undefined;
  /** Titles or methods. */
  readonly methods?: readonly string[] | undefined;
  readonly tasks?: readonly string[] | undefined;
  readonly steps?: number | undefined;
  readonly limit?: number | undefined;
}

/** The study with those models, methods and tasks alone. Throws UsageError for names that it does not have. */
export function changedStudy(study: Study, { models, methods, tasks, steps, limit }: StudyChanges): Study {
  const chosen = <T>(
    all: readonly T[],
    asked: readonly string[] | undefined,
    flag: string,
    namesOf: (one: T) => readonly string[],
  ) => {
    const known = new Set(all.flatMap(namesOf));
    for (const name of asked ?? [])
      if (!known.has(name)) throw new UsageError(`--${flag}: "${name}" is not in this study${suggest(name, known)}`);
    return asked === undefined ? [...all] : all.filter((one) => namesOf(one).some((name) => asked.includes(name)));
  };
  return {
    ...study,
    models: chosen(study.models, models, "models", ({ name }) => [name]),
    tasks: chosen(study.tasks, tasks, "tasks", ({ name }) => [name]),
    variants: chosen(study.variants, methods, "methods", ({ title, method }) => [title, method]),
    training: { ...study.training, ...(steps === undefined ? {} : { max_steps: steps }) },
    evaluation: { ...study.evaluation, ...(limit === undefined ? {} : { limit }) },
  };
}

export interface PlannedCell extends Cell {
  /** What tells it from the other cells. */
  readonly label: string;
  /** Optimizer steps; packing makes them fewer. */
  readonly steps: number;
}

interface StudyPlan {
  readonly study: Study;
  readonly cells: readonly PlannedCell[];
  /** By model name. */
  readonly folders: ReadonlyMap<string, string>;
  /** By the name of the task that is trained on. */
  readonly tasks: ReadonlyMap<string, readonly Task[]>;
}

/** Reads all that a study names but its weights, so that what is wrong is said before anything is trained. `only`: of labels. Throws ConfigError, DataError, UsageError or UnknownName. */
export async function planStudy(study: Study, where: string, only?: RegExp): Promise<StudyPlan> {
  const folders = new Map<string, string>();
  const bases = new Map<string, Base>();
  const opened: { close(): void }[] = [];
  try {
    for (const { name, path } of study.models) {
      const folder = await resolveModelFolder(path, { weights: false });
      const base = openBaseFolder(folder);
      opened.push(base);
      folders.set(name, folder);
      bases.set(name, base);
    }
    const tasks = new Map<string, readonly Task[]>();
    const steps = new Map<string, number>();
    for (const { name, train, train_max_rows: maxRows, eval: words } of study.tasks) {
      const chosen = await chosenTasks(words);
      const needy = chosen.find((task) => task.needs !== undefined);
      if (needy)
        throw new ConfigError(
          `${where}: tasks.${name}: ${needy.name} needs ${needy.needs}; a study runs tasks that need a model alone, \`graft eval\` runs the others`,
        );
      // Missing files are found out now.
      for (const task of chosen) findDataset(task.dataset, "test", dataDirsOf(study.evaluation.data_dir));
      tasks.set(name, chosen);
      steps.set(name, stepsFor((await readRows(train)).slice(0, maxRows).length, study.training));
    }
    const labelled = labelCells(cellsOf(study, bases, where));
    const cells = labelled
      .filter(({ label }) => only?.test(label) ?? true)
      .map(({ cell, label }) => ({ ...cell, label, steps: cell.adapter ? steps.get(cell.task.name)! : 0 }));
    if (cells.length === 0)
      throw new UsageError(`no cell of this study is left${only ? `: none matches ${only.source}` : ""}`);
    return { study, cells, folders, tasks };
  } finally {
    for (const base of opened) base.close();
  }
}

/** As trainRun counts them. */
function stepsFor(rows: number, training: Study["training"]): number {
  const held = Math.min(training.val_set_size, Math.floor(rows / 2));
  const [micro, batch] = [training.micro_batch_size, training.batch_size];
  return totalSteps(
    { batchesPerEpoch: Math.ceil((rows - held) / micro) },
    { epochs: training.num_epochs, accumulation: Math.max(1, Math.floor(batch / micro)), maxSteps: training.max_steps },
  );
}

/** Runs what is not done, a model at a time. Undefined if the signal stopped it; what was done by then is kept. */
export async function runStudy(
  { study, cells, folders, tasks }: StudyPlan,
  { outputDir, signal, log }: Pick<CellTools, "outputDir" | "signal" | "log">,
): Promise<StudyResults | undefined> {
  // Hub models that were looked at without their weights.
  const whole = new Map<string, string>();
  for (const { name, path } of study.models)
    whole.set(
      name,
      cells.some((cell) => cell.model.name === name) ? await resolveModelFolder(path) : folders.get(name)!,
    );
  const tools: CellTools = {
    study,
    outputDir,
    tasksOf: ({ task }) => tasks.get(task.name)!,
    fileHash: onceEach(fileHash),
    modelHash: onceEach((folder) => modelHash(folder, { log })),
    contamination: contaminationChecks({ trainData: [] }, { log, signal }),
    folderOf: ({ model }) => whole.get(model.name)!,
    signal,
    log,
  };
  const stored: (CellResult | undefined)[] = [];
  for (const cell of cells) stored.push(await storedResult(cell, tools));
  // A cell takes as long as its steps, and measuring about as long as some more.
  const costs = cells.map(({ steps }, i) => (stored[i] ? 0 : steps + MEASURING_STEPS));
  const total = costs.reduce((sum, cost) => sum + cost, 0);
  const shelf = createModelShelf(tools);
  const started = performance.now();
  const results: CellResult[] = [];
  let done = 0;
  try {
    for (const [i, cell] of cells.entries()) {
      const left =
        done === 0 || stored[i]
          ? ""
          : `  (about ${timeText(((performance.now() - started) / done) * (total - done))} left)`;
      log(`${i + 1}/${cells.length}  ${cell.label}${stored[i] ? "  (done before)" : left}`);
      // The same adapter under another title is done by now.
      const result =
        stored[i] ?? (await storedResult(cell, tools)) ?? (await runCell(cell, await shelf.take(cell), tools));
      if (!result) return undefined;
      done += costs[i]!;
      log(`   ${said(result)}`);
      results.push(result);
    }
  } finally {
    await shelf.close();
  }
  return { name: study.name, description: study.description, cells: results };
}

/** Asks once for each path. */
function onceEach(ask: (path: string) => Promise<string>): (path: string) => Promise<string> {
  const known = new Map<string, Promise<string>>();
  return (path) => {
    const found = known.get(path) ?? ask(path);
    known.set(path, found);
    return found;
  };
}

const MEASURING_STEPS = 30;

const said = ({ scores, trained }: CellResult): string =>
  trained?.failure ??
  scores.map(({ task, value, count }) => `${task} ${(100 * value).toFixed(1)} % of ${count}`).join("  ");

const timeText = (ms: number): string => (ms < 90_000 ? `${Math.ceil(ms / 1000)} s` : `${Math.ceil(ms / 60_000)} min`);

/** One base at a time on a device that is opened when it is first needed. */
function createModelShelf({ folderOf }: CellTools) {
  let device: Device | undefined;
  let held: { readonly name: string; readonly model: BaseModel } | undefined;
  return {
    async take(cell: Cell): Promise<BaseModel> {
      const { name, dtype, quantization } = cell.model;
      if (held?.name === name) return held.model;
      held?.model.destroy();
      held = undefined;
      device ??= await openCommandDevice();
      const model = loadBaseModel(device, folderOf(cell), { dtype, quantization: quantizationOf({ quantization }) });
      held = { name, model };
      return model;
    },
    async close(): Promise<void> {
      held?.model.destroy();
      await device?.close();
    },
  };
}
