/** Entry of the engine's process. It belongs to its parent: it ends with it, however that ended, and waits for its word where a terminal's Ctrl-C reaches both. */
process.on("SIGINT", () => undefined);
process.on("SIGTERM", () => undefined);
process.on("disconnect", () => process.exit(0));

// Loaded after the handlers are there: an import takes long enough for a Ctrl-C.
const { runWorker } = await import("./run-worker.ts");
runWorker();

export {};
