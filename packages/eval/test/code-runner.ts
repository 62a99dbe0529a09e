import { ConfigError } from "@graft/core/errors";
import { readdirSync, readFileSync } from "node:fs";
import { createProgramRunner, type ProgramRunnerOptions } from "../src/code/run-program.ts";
import type { RunProgram } from "../src/task.ts";

export const searchPath = process.env.PATH ?? "";

/** A runner, or why there is none here: shown where tests are skipped. */
export async function runnerHere(
  options: Partial<ProgramRunnerOptions> = {},
): Promise<{ run: RunProgram; missing?: undefined } | { run?: undefined; missing: string }> {
  try {
    return { run: await createProgramRunner({ searchPath, ...options }) };
  } catch (error) {
    if (error instanceof ConfigError) return { missing: error.message };
    throw error;
  }
}

/** Command lines of all processes that contain a text. */
export function processesWith(text: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return line.includes(text) ? [line] : [];
      } catch {
        return [];
      }
    });
}

/** Looks again and again, since other processes tell nobody what they do. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5));
}
