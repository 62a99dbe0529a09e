/** Starts a sandboxed interpreter, feeds it a program, and takes what comes back: bounded, in time, with nothing left behind. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { DRIVER, REPORT_FD } from "./driver.ts";
import { cpuSeconds, type Limits, resourceLimits } from "./limits.ts";
import type { Isolation } from "./isolation.ts";

/** The standard library alone, so that outcomes do not depend on what else is installed; no bytecode files; UTF-8 whatever the locale. */
const PYTHON_ARGS = ["-S", "-B", "-X", "utf8", "-c", DRIVER];

const TAIL_BYTES = 16_384;
/** The sandbox itself gets this long, so that a busy machine is not taken for a slow program. */
const START_LIMIT_MS = 30_000;
/** How long the pipes are read after the process is gone: in a closed sandbox nobody can hold them any more. */
const PIPES_LIMIT_MS = 500;

type Verdict = "passed" | "failed" | "out of memory";

export interface Ended {
  /** False where the sandbox or the driver could not begin: see `complaint`. */
  readonly started: boolean;
  /** Undefined where the program never came to its end. */
  readonly verdict: Verdict | undefined;
  readonly timedOut: boolean;
  /** "exit code 0", "SIGSEGV". */
  readonly end: string;
  /** The last bytes of what the program wrote. */
  readonly output: string;
  /** The last bytes of what the sandbox wrote. */
  readonly complaint: string;
}

interface ProcessOptions {
  readonly isolation: Isolation;
  readonly slot: number;
  /** Where the program runs if its isolation has no folder of its own. */
  readonly folder: string;
  readonly limits: Limits;
  readonly signal?: AbortSignal | undefined;
}

/** Rejects with the signal's reason when it comes, after the processes are gone. */
export async function runProcess(
  source: string,
  { isolation, slot, folder, limits, signal }: ProcessOptions,
): Promise<Ended> {
  const [command, ...args] = isolation.command(PYTHON_ARGS, slot);
  const token = randomBytes(16).toString("hex");
  // A session of its own: no terminal to type into, and one group to kill.
  const child = spawn(command!, args, {
    cwd: "/",
    env: environment(isolation.isClosed ? "/tmp" : folder),
    detached: true,
    stdio: ["pipe", "pipe", "pipe", "pipe"],
  });
  const { promise: gone, resolve, reject } = Promise.withResolvers<string>();
  child.once("error", reject);
  child.once("exit", (code, killedBy) => resolve(killedBy ?? `exit code ${code}`));

  let timedOut = false;
  let group = child.pid;
  const kill = (): void => {
    if (group !== undefined && !(isolation.isClosed && killChildren(group))) killGroup(group);
  };
  const expire = (): void => {
    timedOut = true;
    kill();
  };
  let timer = setTimeout(expire, START_LIMIT_MS);
  const reports = reportReader(token, () => {
    clearTimeout(timer);
    timer = setTimeout(expire, limits.timeoutMs);
  });
  const pipe = child.stdio[REPORT_FD] as Readable;
  pipe.on("data", reports.read);
  const output = tailOf(child.stdout);
  const complaint = tailOf(child.stderr);
  const streams = [child.stdin, child.stdout, child.stderr, pipe];
  // A program that is killed breaks its pipes; what counts is how it ended.
  for (const stream of streams) stream.on("error", () => {});
  const closed = Promise.all(
    [child.stdout, child.stderr, pipe].map((stream) => new Promise((done) => stream.once("close", done))),
  );

  signal?.addEventListener("abort", kill, { once: true });
  if (signal?.aborted) kill();
  try {
    const alarmSeconds = cpuSeconds(limits.timeoutMs) + 5;
    child.stdin.end(`${JSON.stringify({ token, limits: resourceLimits(limits, isolation), alarmSeconds })}\n${source}`);
    const end = await gone;
    // Whoever stayed in the group where no namespace ended with the first process.
    kill();
    group = undefined;
    await Promise.race([closed, new Promise((done) => setTimeout(done, PIPES_LIMIT_MS).unref())]);
    signal?.throwIfAborted();
    return { ...reports.seen(), timedOut, end, output: output(), complaint: complaint() };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", kill);
    for (const stream of streams) stream.destroy();
  }
}

/** All that a program finds there. Without a fixed hash seed the order of a set of strings, and with it an outcome, would change from run to run. */
function environment(tempDir: string): Record<string, string> {
  return { HOME: tempDir, TMPDIR: tempDir, PYTHONHASHSEED: "0" };
}

/** Reads the driver's reports out of whatever comes down its pipe. */
function reportReader(token: string, onStart: () => void) {
  let text = "";
  let started = false;
  let verdict: Verdict | undefined;
  return {
    read(chunk: Buffer): void {
      // A report is shorter than 64 bytes: what is longer is the program's own.
      const lines = (text + chunk.toString("latin1")).split("\n");
      text = lines.pop()!.slice(-64);
      for (const line of lines) {
        if (line === `${token} started` && !started) {
          started = true;
          onStart();
        }
        verdict ??= verdicts.find((one) => line === `${token} ${one}`);
      }
    },
    seen: () => ({ started, verdict }),
  };
}

const verdicts: readonly Verdict[] = ["passed", "failed", "out of memory"];

/** Reads all and keeps the end. */
function tailOf(stream: Readable): () => string {
  let chunks: Buffer[] = [];
  let size = 0;
  stream.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size < 4 * TAIL_BYTES) return;
    chunks = [Buffer.concat(chunks).subarray(-TAIL_BYTES)];
    size = TAIL_BYTES;
  });
  return () => Buffer.concat(chunks).subarray(-TAIL_BYTES).toString("utf8");
}

/** Ends the namespace by its first process: its parent then waits until all of it is gone, and reaps it. False where there is none, or the kernel does not tell. */
function killChildren(pid: number): boolean {
  let children: number[];
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return false;
  }
  for (const child of children) killIfThere(child);
  return children.length > 0;
}

function killGroup(pid: number): void {
  killIfThere(-pid);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // ESRCH: nobody is left.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
