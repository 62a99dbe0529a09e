/** Where the lines of a chat come from: a person at a terminal, or a pipe. */
import { createInterface } from "node:readline";
import { Writable } from "node:stream";

export interface Lines {
  /** The next line; undefined at the end. What is typed ahead waits. */
  next(prompt: string): Promise<string | undefined>;
  /** Somebody is there. */
  readonly isInteractive: boolean;
  close(): void;
}

export interface TerminalOptions {
  readonly complete: (line: string) => Promise<[string[], string]>;
  /** Ctrl-C. True: it stopped something; otherwise the line that is being typed is cleared. */
  readonly onInterrupt: () => boolean;
}

/** Of a terminal: history, editing, completion by Tab. The terminal is in raw mode until close. */
export function terminalLines({ complete, onInterrupt }: TerminalOptions): Lines {
  // What is typed during an answer is shown when its turn comes.
  let isMuted = true;
  const screen = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      if (!isMuted) process.stdout.write(chunk);
      done();
    },
  });
  const columns = { get: () => process.stdout.columns };
  const rl = createInterface({
    input: process.stdin,
    output: Object.defineProperty(screen, "columns", columns),
    terminal: true,
    completer(line: string, done: (error: Error | null, result: [string[], string]) => void) {
      void complete(line).then((result) => done(null, result));
    },
  });
  const queue = lineQueue();
  rl.on("line", queue.push);
  rl.on("close", queue.end);
  rl.on("SIGINT", () => {
    if (onInterrupt()) return;
    process.stdout.write("\n(Ctrl-D or /quit ends)\n");
    rl.write(null, { ctrl: true, name: "e" });
    rl.write(null, { ctrl: true, name: "u" });
  });
  return {
    isInteractive: true,
    async next(prompt) {
      isMuted = false;
      rl.setPrompt(prompt);
      rl.prompt(true);
      const line = await queue.next();
      isMuted = true;
      return line;
    },
    close: () => rl.close(),
  };
}

/** Of a pipe or a file. Throws the signal's reason when it is aborted. */
export function pipedLines(input: NodeJS.ReadableStream, signal: AbortSignal): Lines {
  const rl = createInterface({ input, terminal: false });
  const queue = lineQueue();
  rl.on("line", queue.push);
  rl.on("close", queue.end);
  signal.addEventListener("abort", () => rl.close(), { once: true });
  return {
    isInteractive: false,
    async next() {
      const line = await queue.next();
      signal.throwIfAborted();
      return line;
    },
    close: () => rl.close(),
  };
}

function lineQueue() {
  const waiting: string[] = [];
  let hasEnded = false;
  let wake = (): void => undefined;
  return {
    push(line: string): void {
      waiting.push(line);
      wake();
    },
    end(): void {
      hasEnded = true;
      wake();
    },
    async next(): Promise<string | undefined> {
      while (waiting.length === 0 && !hasEnded) await new Promise<void>((resolve) => (wake = resolve));
      return waiting.shift();
    },
  };
}
