/** Runs `task` with the process's stderr pointed at nothing: Dawn warns there about limits it lowers, which no user can act on. */
export async function withQuietStderr<T>(task: () => Promise<T>): Promise<T> {
  if (process.platform === "win32" || !("bun" in process.versions)) return task();
  const { dlopen, suffix } = await import("bun:ffi");
  const libc = dlopen(process.platform === "darwin" ? `libSystem.${suffix}` : "libc.so.6", {
    dup: { args: ["i32"], returns: "i32" },
    dup2: { args: ["i32", "i32"], returns: "i32" },
    open: { args: ["cstring", "i32"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
  });
  const { dup, dup2, open, close } = libc.symbols;
  const saved = dup(2);
  const nowhere = open(Buffer.from("/dev/null\0"), 1);
  if (saved < 0 || nowhere < 0) return task();
  dup2(nowhere, 2);
  try {
    return await task();
  } finally {
    dup2(saved, 2);
    close(saved);
    close(nowhere);
  }
}
