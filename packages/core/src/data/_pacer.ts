/** Long work on the host that lets others go on. */

/** A function to await between pieces of long work: when `ms` of them have passed since the last time, what waits in the event loop runs first. */
export function pacer(ms = 10): () => Promise<void> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < ms) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        since = performance.now();
        resolve();
      });
    });
  };
}
