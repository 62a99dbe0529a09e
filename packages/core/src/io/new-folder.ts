/** Folders that are to be made. */
import { copyFileSync, existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import { companionFiles } from "./_model-files.ts";
import { writeFileAtomic, writeFolderAtomic } from "./atomic.ts";
import { readJson } from "./json.ts";
import { streamSafetensors } from "./safetensors.ts";

/** Throws ConfigError if something is there that writing the folder would replace: before the work, not after it. `what` is to be in it, such as "the adapter". */
export function checkNewFolder(path: string, what: string): void {
  if (!existsSync(path)) return;
  if (!statSync(path).isDirectory()) throw new ConfigError(`${path}: is a file, not a folder; choose another folder`);
  if (readdirSync(path).length > 0) throw new ConfigError(`${path}: is not empty; give a new folder for ${what}`);
}

/** A model folder made of another one, all of it or nothing: new weights, the companion files of `model`, and its config with `changes`. */
export function writeModelFolder(
  outputDir: string,
  model: string,
  shapes: Parameters<typeof streamSafetensors>[1],
  bytesOf: Parameters<typeof streamSafetensors>[3],
  changes: Readonly<Record<string, unknown>>,
): Promise<void> {
  return writeFolderAtomic(outputDir, async (folder) => {
    await streamSafetensors(join(folder, "model.safetensors"), shapes, { format: "pt" }, bytesOf);
    for (const name of companionFiles(model)) copyFileSync(join(model, name), join(folder, name));
    if (Object.keys(changes).length === 0) return;
    const json = readJson(join(model, "config.json"), z.looseObject({}));
    writeFileAtomic(join(folder, "config.json"), [JSON.stringify({ ...json, ...changes }, null, 2)]);
  });
}
