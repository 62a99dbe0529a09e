/** The user's Python. */
import { ConfigError } from "@graft/core/errors";
import { spawnSync } from "node:child_process";
import { z } from "zod";
import { findExecutable } from "./executables.ts";

export interface Python {
  /** The real file, behind shims and links. */
  readonly executable: string;
  /** Where its libraries are; real paths. */
  readonly folders: readonly string[];
}

const QUESTION = `
import json, os, sys
if sys.version_info < (3, 8): sys.exit("it is Python %d.%d" % sys.version_info[:2])
real = os.path.realpath
executable = getattr(sys, "_base_executable", None) or sys.executable
folders = sorted({real(p) for p in (sys.base_prefix, sys.base_exec_prefix)} - {"/"})
print(json.dumps({"executable": real(executable), "folders": folders}))
`;

const answerSchema = z.object({ executable: z.string().startsWith("/"), folders: z.array(z.string().startsWith("/")) });

/** Asks the interpreter of that name or path where it really is. Throws ConfigError if there is none, or one before 3.8. */
export function findPython(name: string, searchPath: string): Python {
  const path = findExecutable(name, searchPath);
  if (path === undefined)
    throw new ConfigError(
      `no ${name} on PATH: HumanEval's programs are Python; install Python 3.8 or later (apt install python3) or name another interpreter`,
    );
  const asked = spawnSync(path, ["-I", "-c", QUESTION], {
    env: { PATH: searchPath },
    timeout: 30_000,
    encoding: "utf8",
  });
  const reason = asked.error?.message ?? (asked.stderr.trim().split("\n").at(-1) || `exit code ${asked.status}`);
  if (asked.status !== 0) throw new ConfigError(`${path} is no usable Python 3.8 or later: ${reason}`);
  try {
    return answerSchema.parse(JSON.parse(asked.stdout));
  } catch (cause) {
    throw new ConfigError(`${path} is no usable Python 3.8 or later: it does not say where it is`, { cause });
  }
}
