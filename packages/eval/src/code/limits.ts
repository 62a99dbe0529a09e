/** What a program may use. */
import { ConfigError } from "@graft/core/errors";
import { z } from "zod";

const MEBIBYTE = 2 ** 20;

const limitsSchema = z.object({
  /** Wall clock, from the program's first line. openai/human-eval: 3 s. */
  timeoutMs: z.number().positive().max(3_600_000).default(3000),
  /** Address space of each process. */
  memoryBytes: z
    .int()
    .min(64 * MEBIBYTE)
    .default(512 * MEBIBYTE),
  /** The largest file it can write. */
  fileBytes: z
    .int()
    .positive()
    .default(16 * MEBIBYTE),
  /** All files together, in a closed isolation. */
  diskBytes: z
    .int()
    .positive()
    .default(64 * MEBIBYTE),
  /** Its processes and threads at a time, in a closed isolation. */
  maxProcesses: z.int().min(4).default(8),
  /** Programs at a time. */
  concurrency: z.int().min(1).max(64).default(2),
});

export type Limits = Readonly<z.output<typeof limitsSchema>>;
export type LimitOptions = Readonly<Partial<{ [K in keyof Limits]: Limits[K] | undefined }>>;

/** With the defaults filled in. Throws ConfigError naming the field. */
export function parseLimits(options: LimitOptions): Limits {
  const parsed = limitsSchema.safeParse(options);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ConfigError(`limits of programs: ${issue!.path.join(".")}: ${issue!.message}`);
}

/** What the driver sets, by the name in Python's `resource`. Processes are only counted where the program's user runs nothing else. */
export function resourceLimits(
  { timeoutMs, memoryBytes, fileBytes, maxProcesses }: Limits,
  { isClosed }: { readonly isClosed: boolean },
): Record<string, number> {
  return {
    RLIMIT_AS: memoryBytes,
    // The wall clock comes first unless several threads compute.
    RLIMIT_CPU: cpuSeconds(timeoutMs),
    RLIMIT_FSIZE: fileBytes,
    ...(isClosed ? { RLIMIT_NPROC: maxProcesses } : {}),
    RLIMIT_NOFILE: 64,
    RLIMIT_CORE: 0,
  };
}

export function cpuSeconds(timeoutMs: number): number {
  return Math.ceil(timeoutMs / 1000) + 1;
}
