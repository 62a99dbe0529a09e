/** The files of an adapter on their way into the data directory. */
import { CheckpointError } from "@graft/core/errors";
import { constants, existsSync } from "node:fs";
import { copyFile, realpath, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { confine } from "../confine.ts";
import { ApiError } from "../errors.ts";

const CONFIG = "adapter_config.json";
const WEIGHTS = ["adapter_model.safetensors", "adapter_model.bin"] as const;
/** The only files an adapter has here. */
export const adapterFiles = [CONFIG, ...WEIGHTS] as const;
export type AdapterFile = (typeof adapterFiles)[number];

/** PEFT's largest configs name every module of a large model: some 50 KiB. */
const MAX_CONFIG_BYTES = 2 ** 18;

export const isAdapterFile = (name: string): name is AdapterFile => (adapterFiles as readonly string[]).includes(name);

/** Writes the files into an empty folder. */
export type Fill = (folder: string) => Promise<void>;

/** From a form: the files of an adapter by their names. Throws ApiError 400 that names the file for one that an adapter has not, one that stands twice, and what is missing or too large. */
export function uploadedFiles(form: FormData): Fill {
  const files = new Map<AdapterFile, File>();
  for (const value of form.values() as Iterable<unknown>) {
    if (!(value instanceof File)) continue;
    const { name } = value;
    if (!isAdapterFile(name))
      throw new ApiError(400, `${shown(name)}: is no file of an adapter; those are ${adapterFiles.join(", ")}`, {
        param: "file",
      });
    if (files.has(name)) throw new ApiError(400, `${name}: stands twice in the form`, { param: name });
    files.set(name, value);
  }
  const config = files.get(CONFIG);
  if (!config) throw new ApiError(400, `${CONFIG}: is missing`, { param: CONFIG });
  assertConfigSize(config.size);
  const [weights, ...more] = WEIGHTS.filter((name) => files.has(name));
  if (weights === undefined || more.length > 0)
    throw new ApiError(400, `${WEIGHTS.join(" or ")}: one of the two must be there`, { param: WEIGHTS[0] });
  return async (folder) => {
    for (const [name, file] of files) await Bun.write(join(folder, name), file);
  };
}

/** From a folder: copies, so that what happens to it later changes nothing. With `roots` the files too must really lie in one of them. */
export function copiedFiles(from: string, roots?: readonly string[]): Fill {
  return async (folder) => {
    if (!existsSync(from)) throw new CheckpointError(`${from}: no such adapter folder`);
    for (const name of [CONFIG, WEIGHTS.find((weights) => existsSync(join(from, weights))) ?? WEIGHTS[0]]) {
      const path = join(from, name);
      if (!existsSync(path)) throw new CheckpointError(`${from}: is no adapter folder, it has no ${name}`);
      const real = roots ? await confine(path, roots, name) : await realpath(path);
      const found = await stat(real);
      if (!found.isFile()) throw new CheckpointError(`${path}: is no file`);
      if (name === CONFIG) assertConfigSize(found.size);
      // The same blocks on the disk where the file system can share them.
      await copyFile(real, join(folder, name), constants.COPYFILE_FICLONE);
    }
  };
}

/** Puts checked files where they belong. */
export async function moveFiles(from: string, to: string): Promise<void> {
  for (const name of adapterFiles) if (existsSync(join(from, name))) await rename(join(from, name), join(to, name));
}

function assertConfigSize(bytes: number): void {
  if (bytes > MAX_CONFIG_BYTES)
    throw new ApiError(400, `${CONFIG}: has ${bytes} bytes, more than ${MAX_CONFIG_BYTES}`, { param: CONFIG });
}

/** A client's name for something, short enough to be repeated. */
function shown(name: string): string {
  const plain = name.replaceAll(/\p{Cc}/gu, "").slice(0, 80);
  return plain === "" ? "a file without a name" : plain;
}
