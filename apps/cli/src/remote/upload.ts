/** Files on their way to a server. */
import { ConfigError } from "@graft/core/errors";
import { existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import type { Remote } from "./client.ts";
import { bytesText } from "./text.ts";

export const CONFIG_FILE = "adapter_config.json";
/** An adapter has one of them. */
export const WEIGHTS_FILES = ["adapter_model.safetensors", "adapter_model.bin"] as const;

/** Uploads training data and returns its id. The server checks it line by line. Throws ConfigError for what is no file, RemoteError. */
export async function uploadTrainingFile({ api }: Remote, path: string, log: (line: string) => void): Promise<string> {
  const file = await fileAt(path);
  log(`uploading ${path}, ${bytesText(file.size)}`);
  const answer = await api.v1.files.$post({ form: { file, purpose: "fine-tune" } });
  const { id, graft } = await answer.json();
  log(`${path} is ${id}: ${graft.rows} rows of the ${graft.format} format`);
  return id;
}

/** The files of an adapter folder, to be uploaded. Throws ConfigError for a folder that is none. */
export async function adapterFilesOf(folder: string): Promise<File[]> {
  if (!existsSync(join(folder, CONFIG_FILE)))
    throw new ConfigError(`${folder}: is no adapter folder, it has no ${CONFIG_FILE}`);
  const weights = WEIGHTS_FILES.find((name) => existsSync(join(folder, name)));
  if (weights === undefined)
    throw new ConfigError(`${folder}: is no adapter folder, it has no ${WEIGHTS_FILES.join(" or ")}`);
  return Promise.all([CONFIG_FILE, weights].map((name) => fileAt(join(folder, name))));
}

/** With its bytes: a request may have to be refused before it is sent whole. */
async function fileAt(path: string): Promise<File> {
  if (!existsSync(path)) throw new ConfigError(`${path}: there is no such file`);
  if (!statSync(path).isFile()) throw new ConfigError(`${path}: is no file`);
  return new File([await Bun.file(path).arrayBuffer()], basename(path));
}
