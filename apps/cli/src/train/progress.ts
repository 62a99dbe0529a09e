/** What a person sees while training: one live line on a terminal, a line now and then elsewhere, a plot at the end. */
import asciichart from "asciichart";
import { SingleBar } from "cli-progress";

export interface ProgressStep {
  readonly step: number;
  readonly totalSteps: number;
  readonly loss: number;
  readonly tokensPerSecond: number;
}

export interface Progress {
  step(step: ProgressStep): void;
  /** A line of its own. */
  note(line: string): void;
  end(): void;
}

export function trainingProgress(log: (line: string) => void, everySteps = 10): Progress {
  return process.stderr.isTTY ? liveBar(log) : plainLines(log, everySteps);
}

function liveBar(log: (line: string) => void): Progress {
  const bar = new SingleBar({
    format: "{bar} {value}/{total}  loss {loss}  {rate} tokens/s  {eta_formatted} left",
    hideCursor: true,
    clearOnComplete: false,
    etaBuffer: 20,
    stream: process.stderr,
  });
  let isStarted = false;
  return {
    step({ step, totalSteps, loss, tokensPerSecond }) {
      const payload = { loss: loss.toFixed(4), rate: tokensPerSecond.toFixed(0) };
      if (!isStarted) bar.start(totalSteps, step, payload);
      else bar.update(step, payload);
      isStarted = true;
    },
    note(line) {
      if (isStarted) process.stderr.write("\n");
      log(line);
    },
    end: () => bar.stop(),
  };
}

function plainLines(log: (line: string) => void, everySteps: number): Progress {
  // The first step compiles kernels, which says nothing of the others.
  let first: { step: number; at: number } | undefined;
  return {
    step({ step, totalSteps, loss, tokensPerSecond }) {
      const isFirst = first === undefined;
      first ??= { step, at: performance.now() };
      if (!isFirst && step % everySteps !== 0 && step !== totalSteps) return;
      const left = isFirst
        ? ""
        : `  ${Math.round(((performance.now() - first.at) / 1000 / (step - first.step)) * (totalSteps - step))} s left`;
      log(`step ${step}/${totalSteps}  loss ${loss.toFixed(4)}  ${tokensPerSecond.toFixed(0)} tokens/s${left}`);
    },
    note: log,
    end: () => undefined,
  };
}

/** A small plot of the losses, at most 60 columns wide (means of equal stretches). */
export function lossPlot(losses: readonly number[]): string {
  if (losses.length < 2) return "";
  const columns = Math.min(60, losses.length);
  const means = Array.from({ length: columns }, (_, i) => {
    const part = losses.slice(
      Math.floor((i * losses.length) / columns),
      Math.max(Math.floor(((i + 1) * losses.length) / columns), Math.floor((i * losses.length) / columns) + 1),
    );
    return part.reduce((a, b) => a + b, 0) / part.length;
  });
  return asciichart.plot(means, { height: 8, format: (x) => x.toFixed(3).padStart(8) });
}
