/** Runs programs that a model wrote, each in a locked-down process of its own. */
import { ConfigError } from "@graft/core/errors";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ProgramOutcome, RunProgram } from "../task.ts";
import { type Isolation, isolations, NO_ISOLATION, noIsolation } from "./isolation.ts";
import { type LimitOptions, type Limits, parseLimits } from "./limits.ts";
import { probe } from "./probe.ts";
import { findPython, type Python } from "./python.ts";
import { type Ended, runProcess } from "./run-process.ts";
import { slots } from "../slots.ts";

export interface ProgramRunnerOptions extends LimitOptions {
  /** The value of PATH: where the interpreter and the tools of isolation are looked for. */
  readonly searchPath: string;
  /** Name or path of the interpreter. Default: python3. */
  readonly python?: string | undefined;
  /** Default: namespaces of the Linux kernel, through unshare or bubblewrap. The other name only keeps limits and time. */
  readonly isolation?: "namespaces" | typeof NO_ISOLATION | undefined;
}

/**
 * Looks for an isolation that really holds on this machine: a program of ours that tries to connect, to write outside and to go over each limit must fail at all of it.
 * Throws ConfigError if there is none, or no Python, and says what to do. The runner resolves to an outcome whatever the program does, and rejects with the
 * signal's reason when it comes; neither leaves processes or files. A program passes only if its last line has run. docs/code-execution.md says what is guaranteed.
 */
export async function createProgramRunner(options: ProgramRunnerOptions): Promise<RunProgram> {
  const { searchPath, python = "python3", isolation = "namespaces", ...own } = options;
  const limits = parseLimits(own);
  if (process.platform !== "linux")
    throw new ConfigError(
      `programs are only run on Linux, this is ${process.platform}; run graft in a Linux container`,
    );
  const place = { python: findPython(python, searchPath), searchPath, limits };
  const chosen = isolation === NO_ISOLATION ? await unisolated(place) : await firstThatHolds(place);
  const withSlot = slots(limits.concurrency);
  return (source, signal) =>
    withSlot(async (slot) => {
      if (chosen.isClosed)
        return outcomeOf(await runProcess(source, { isolation: chosen, limits, slot, folder: "/", signal }), limits);
      const folder = mkdtempSync(join(tmpdir(), "graft-program-"));
      try {
        return outcomeOf(await runProcess(source, { isolation: chosen, limits, slot, folder, signal }), limits);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }, signal);
}

interface Machine {
  readonly python: Python;
  readonly searchPath: string;
  readonly limits: Limits;
}

async function firstThatHolds(machine: Machine): Promise<Isolation> {
  const reasons: string[] = [];
  for (const candidate of isolations(machine)) {
    const reason = "reason" in candidate ? candidate.reason : await probe(candidate, machine.limits);
    if (reason === undefined) return candidate as Isolation;
    reasons.push(`${candidate.name}: ${reason}`);
  }
  throw new ConfigError(
    `programs cannot be locked down on this machine (${reasons.join("; ")}); install bubblewrap and allow user namespaces, or, in a container without network ` +
      `that may be thrown away, choose isolation "${NO_ISOLATION}"`,
  );
}

async function unisolated(machine: Machine): Promise<Isolation> {
  const isolation = noIsolation(machine);
  const reason = await probe(isolation, machine.limits);
  if (reason !== undefined) throw new ConfigError(`limits on programs do not hold on this machine: ${reason}`);
  return isolation;
}

const DETAIL_LINES = 20;
const DETAIL_CHARS = 2000;

function outcomeOf({ started, verdict, timedOut, end, output, complaint }: Ended, limits: Limits): ProgramOutcome {
  if (!started) throw new Error(`the sandbox did not start: ${complaint.trim() || end}`);
  if (verdict) return { state: verdict, detail: detailOf(output) };
  // The kernel's limit on processor time, as it comes through a shell or directly.
  if (timedOut || end === "SIGXCPU" || end === "exit code 152")
    return { state: "timed out", detail: detailOf(output, `stopped after ${limits.timeoutMs / 1000} s`) };
  return { state: "failed", detail: detailOf(output, `ended before its last line: ${end}`) };
}

function detailOf(output: string, last = ""): string {
  const lines = `${output.trimEnd()}\n${last}`.trim().split("\n").slice(-DETAIL_LINES);
  return lines.join("\n").slice(-DETAIL_CHARS);
}
