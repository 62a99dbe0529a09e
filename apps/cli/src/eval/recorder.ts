/** The record of an evaluation in the database of runs. */
import type { TaskResult } from "@graft/eval";
import { hashOf, valueOf } from "@graft/eval";
import type { NewRun } from "@graft/server/db";
import { config } from "../config.ts";
import { graftVersion } from "../runs/graft-version.ts";
import { adapterHash, kernelTextHash, modelHash, templateHash } from "../runs/hashes.ts";
import type { EvalSettings } from "./options.ts";
import type { EvalContext } from "./run.ts";
import type { System, Systems } from "./systems.ts";

export interface Recorder {
  /** Of the run; undefined where no record is kept. */
  readonly id: string | undefined;
  /** What the numbers depend on. */
  readonly provenance: Readonly<Record<string, unknown>>;
  add(result: TaskResult, contamination: readonly string[]): Promise<void>;
  finish(): Promise<void>;
  /** The run did not come to its end; what was added stays. */
  fail(error: unknown): Promise<void>;
}

/** Hashes what is measured and, with a store, opens a run. */
export async function startRecord(
  { store, log, signal }: EvalContext,
  settings: EvalSettings,
  { device, folder }: Systems,
  system: System,
): Promise<Recorder> {
  const run: NewRun = {
    kind: "eval",
    system: system.name,
    model: settings.model,
    adapter: system.adapter ?? null,
    // Of this system alone: the others are runs of their own.
    settings: storedSettings(settings, system),
    folder: process.cwd(),
    output: settings.output ?? null,
    seed: settings.seed,
    modelHash: folder === undefined ? null : await modelHash(folder, { log }),
    adapterHash: system.adapter === undefined ? null : await adapterHash(system.adapter),
    kernelHash: null,
    device: device === undefined ? (settings.endpoint ?? null) : deviceName(device),
    driver: device === undefined ? null : config.driver.kind,
    ...graftVersion(),
  };
  const id = await store?.createRun(run, new Date());
  const kernelHash = () => (device === undefined ? null : kernelTextHash(device));
  return {
    id,
    get provenance() {
      const { modelHash: model_hash, adapterHash: adapter_hash, device: name, driver, version, commit, seed } = run;
      return {
        run: id ?? null,
        model_hash,
        adapter_hash,
        kernel_hash: kernelHash(),
        device: name,
        driver,
        version,
        commit,
        seed,
      };
    },
    async add(result, contamination) {
      if (id === undefined) return;
      const { groups: _groups, numFewshot: _shots, shotSplit: _split, seed: _seed, dataset, samples, ...own } = result;
      await store?.addResult(id, {
        ...own,
        datasetPath: dataset.path,
        datasetSha256: dataset.sha256,
        answersHash: hashOf(JSON.stringify(samples.map((sample) => sample.resps))),
        template: own.template ?? null,
        templateHash: own.template === undefined ? null : templateHash(own.template),
        decoding: { ...own.decoding },
        contamination,
        items: samples.map((sample) => ({ docHash: sample.doc_hash, value: valueOf(sample, own.primary) })),
      });
    },
    async finish() {
      if (id !== undefined) await store?.finishRun(id, { kernelHash: kernelHash() }, new Date());
    },
    async fail(error) {
      const said = error instanceof Error ? error.message : String(error);
      if (id !== undefined)
        await store?.failRun(id, { state: signal.aborted ? "stopped" : "failed", error: said }, new Date());
    },
  };
}

function deviceName({ info }: NonNullable<Systems["device"]>): string {
  return info.description || info.device;
}

/** What is needed to run this system again; where results go is no part of it. */
function storedSettings(
  { output: _output, json: _json, db: _db, ...settings }: EvalSettings,
  { name, adapter }: System,
): Record<string, unknown> {
  // A name with "=" in it is the folder's own: it would be read as another one.
  const entry = name.includes("=") ? adapter : `${name}=${adapter}`;
  const own = { ...settings, adapter: adapter === undefined ? [] : [entry] };
  return Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
}
