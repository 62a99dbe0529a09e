/** The command line as a person meets it: a process of its own, its two streams and its exit code. */
import { expect } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dir, "../../..");
export const micro = join(root, "models/graft-micro-llama");
export const mathRows = join(root, "models/data/micro-math-train.json");
const entry = join(root, "apps/cli/src/main.ts");

export interface Outcome {
  /** null if a signal ended it. */
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** What commands record goes here, and not into the data of who runs the tests. */
const data = mkdtempSync(join(tmpdir(), "graft-data-"));
process.on("exit", () => rmSync(data, { recursive: true, force: true }));

/** A command that runs. `wrapper`: words before it, such as `unshare -rm`. */
export function start(args: readonly string[], wrapper: readonly string[] = [], env: Record<string, string> = {}) {
  const child = Bun.spawn([...wrapper, process.execPath, entry, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, GRAFT_DATA: data, ...env },
  });
  const streams = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return {
    child,
    async outcome(): Promise<Outcome> {
      const [out, err] = await streams;
      return { code: child.signalCode === null ? child.exitCode : null, out, err };
    },
  };
}

export function graft(...args: readonly string[]): Promise<Outcome> {
  return start(args).outcome();
}

/** As `graft`, for a command that must succeed: what went wrong is in the failure. */
export async function succeed(...args: readonly string[]): Promise<Outcome> {
  const outcome = await graft(...args);
  if (outcome.code !== 0) throw new Error(`graft ${args.join(" ")}: exit code ${outcome.code}\n${outcome.err}`);
  return outcome;
}

/** How every failure looks: nothing on stdout, one last line on stderr that has all of `says`, no stack, no word of a mistake in Graft. */
export function expectFailure({ code, out, err }: Outcome, want: number, ...says: readonly string[]): void {
  const last = err.trimEnd().split("\n").at(-1)!;
  for (const part of says) expect(last).toContain(part);
  expect(last).toStartWith("graft: ");
  expect(err).not.toMatch(/\n\s+at |a mistake in graft/);
  expect({ code, out }).toEqual({ code: want, out: "" });
}

/** Waits for something that another process does. Throws after a minute. */
export async function eventually<T>(what: string, look: () => T | undefined): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`a minute has passed without ${what}`);
    await Bun.sleep(2);
  }
}
