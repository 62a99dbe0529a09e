/** What the tests of the engine's process share. */
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const models = resolve(import.meta.dir, "../../../models");
export const commonAdapter = join(models, "graft-micro-llama-common");

/** A copy of the embedded model with room for long answers that no end token cuts short, so that something is sure to be running when a test interferes. */
export function longModel(): string {
  const folder = join(mkdtempSync(join(tmpdir(), "engine-")), "base");
  cpSync(join(models, "graft-micro-llama"), folder, { recursive: true });
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object;
  const long = { ...config, max_position_embeddings: 8192, eos_token_id: 0 };
  writeFileSync(join(folder, "config.json"), JSON.stringify(long));
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: 0 }));
  return folder;
}

/** A log whose lines can be waited for. */
export class Lines {
  readonly all: string[] = [];
  #waiting = new Set<() => void>();

  readonly log = (line: string): void => {
    this.all.push(line);
    for (const wake of this.#waiting) wake();
  };

  /** The first line with this text among those after the first `from`. */
  async next(text: string, from = 0): Promise<string> {
    for (;;) {
      const found = this.all.slice(from).find((line) => line.includes(text));
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }
}

/** Asks until it is so. Throws after ten seconds. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resume) => setTimeout(resume, 5));
  }
}

/** False also for a process that has ended and that nobody has asked how. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return process.platform !== "linux";
  }
}
