/** Whether what a run was made of is still there, and the same. */
import type { RunDetails } from "@graft/server/db";
import { resolveModelFolder } from "../resolve-model.ts";
import { adapterHash, fileHash, modelHash, templateHash } from "./hashes.ts";

export interface InputCheck {
  /** "model models/base", "data of gsm8k (/data/gsm8k/test.json)" */
  readonly name: string;
  readonly state: "same" | "changed" | "missing" | "unknown";
  /** One sentence; "" for what is the same. */
  readonly said: string;
}

/** Looks at model, adapter, data and templates from where the run was started, which must be the current folder. */
export async function checkInputs(run: RunDetails, log: (line: string) => void): Promise<InputCheck[]> {
  const { model, modelHash: modelWas, adapter, adapterHash: adapterWas, results } = run;
  const checks = [
    check(`model ${model}`, modelWas, async () => modelHash(await resolveModelFolder(model), { log })),
    ...(adapter === null ? [] : [check(`adapter ${adapter}`, adapterWas, () => adapterHash(adapter))]),
    ...results.map(({ task, datasetPath, datasetSha256 }) =>
      check(`data of ${task} (${datasetPath})`, datasetSha256, () => fileHash(datasetPath)),
    ),
    ...results.flatMap(({ task, template, templateHash: was }) =>
      template === null ? [] : [check(`template ${template} of ${task}`, was, () => templateHash(template))],
    ),
  ];
  return Promise.all(checks);
}

async function check(name: string, was: string | null, look: () => Promise<string> | string): Promise<InputCheck> {
  if (was === null) return { name, state: "unknown", said: `${name}: cannot be checked, no hash of it was recorded` };
  try {
    const is = await look();
    if (is === was) return { name, state: "same", said: "" };
    return {
      name,
      state: "changed",
      said: `${name}: has changed, its hash is ${is.slice(0, 16)}, was ${was.slice(0, 16)}`,
    };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { name, state: "missing", said: `${name}: cannot be read (${error.message})` };
  }
}
