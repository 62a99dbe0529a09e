/** Long loops that let the process hear of Ctrl-C. */

/** A function to await in a loop: every 50 ms it lets other work run, and throws what `signal` was aborted with. */
export function createPauses(signal?: AbortSignal): () => Promise<void> | undefined {
  let last = performance.now();
  return () => {
    const now = performance.now();
    if (now - last < 50) return undefined;
    last = now;
    return new Promise((resolve, reject) => {
      setTimeout(() => {
        if (signal?.aborted) reject(signal.reason as Error);
        else resolve();
      });
    });
  };
}
