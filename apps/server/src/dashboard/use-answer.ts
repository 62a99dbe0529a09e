/** One column of the playground: an answer as it comes. */
import { useEffect, useRef, useState } from "hono/jsx/dom";
import { type Prompt, streamCompletion } from "./stream-completion.ts";

export interface Answer {
  readonly state: "none" | "streaming" | "done" | "stopped" | "failed";
  readonly text: string;
  /** Pieces of text so far; the server's own count once it has said it. */
  readonly tokens: number;
  readonly reason: string | undefined;
  readonly firstMs: number | undefined;
  readonly totalMs: number;
  readonly error: unknown;
}

const NONE: Answer = {
  state: "none",
  text: "",
  tokens: 0,
  reason: undefined,
  firstMs: undefined,
  totalMs: 0,
  error: undefined,
};

export function useAnswer() {
  const [answer, setAnswer] = useState(NONE);
  const running = useRef<AbortController>(null);
  const stop = (): void => running.current?.abort();
  useEffect(() => stop, []);
  /** Never throws: what goes wrong is in the answer. */
  const ask = async (prompt: Prompt): Promise<void> => {
    stop();
    const controller = new AbortController();
    running.current = controller;
    const start = performance.now();
    let now: Answer = { ...NONE, state: "streaming" };
    let frame = 0;
    const update = (more: Partial<Answer>): void => {
      now = { ...now, ...more, totalMs: performance.now() - start };
      if (running.current !== controller) return;
      cancelAnimationFrame(frame);
      // Several tokens may come between two frames.
      if (now.state === "streaming") frame = requestAnimationFrame(() => setAnswer(now));
      else setAnswer(now);
    };
    update({});
    try {
      for await (const piece of streamCompletion(prompt, controller.signal)) {
        if (piece.type === "text") {
          const firstMs = now.firstMs ?? performance.now() - start;
          update({ text: now.text + piece.text, tokens: now.tokens + 1, firstMs });
        } else if (piece.type === "end") update({ reason: piece.reason });
        else update({ tokens: piece.tokens });
      }
      update({ state: "done" });
    } catch (error) {
      update(controller.signal.aborted ? { state: "stopped" } : { state: "failed", error });
    }
  };
  return { answer, ask, stop };
}

/** Tokens after the first, per second; undefined before there are two. */
export function answerRate({ tokens, firstMs, totalMs }: Answer): number | undefined {
  if (firstMs === undefined || tokens < 2 || totalMs <= firstMs) return undefined;
  return (1000 * (tokens - 1)) / (totalMs - firstMs);
}
