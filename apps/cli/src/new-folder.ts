/** Folders that a command is to make. */
import { ConfigError } from "@graft/core/errors";
import { existsSync, readdirSync, statSync } from "node:fs";

/** Throws ConfigError if something is there that writing the folder would replace: before the work, not after it. */
export function checkNewFolder(path: string): void {
  if (!existsSync(path)) return;
  if (!statSync(path).isDirectory()) throw new ConfigError(`${path}: is a file, not a folder; choose another folder`);
  if (readdirSync(path).length > 0) throw new ConfigError(`${path}: is not empty; give a new folder for the adapter`);
}
