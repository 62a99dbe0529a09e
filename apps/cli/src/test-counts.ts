/** The true counts of a test run, from the JUnit file that bun writes, its exit code, and the test files that should have run. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * junit: text of the file, undefined if the run ended without writing one; files: paths as bun names them, relative to where it ran.
 * bun's file says nothing of a test file that threw while it was loaded, nor of an error between two tests: each such file, and at least one
 * failure for a run that did not exit 0, is counted here.
 */
export function countsOf(junit: string | undefined, exitCode: number, files: readonly string[]): Counts {
  const head = /<testsuites [^>]*>/.exec(junit ?? "")?.[0];
  if (junit === undefined || head === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const number = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const skipped = number("skipped");
  const broken = number("failures") + number("errors");
  const passed = number("tests") - broken - skipped;
  if (exitCode === 0) return { passed, failed: broken, skipped };
  // Files of an exit code 0 that are not listed have no tests to run, which is not a failure.
  const listed = new Set([...junit.matchAll(/<testsuite name="[^"]*" file="([^"]*)"/g)].map((match) => match[1]!));
  const unlisted = files.filter((file) => !listed.has(file)).length;
  return { passed, failed: Math.max(1, broken + unlisted), skipped };
}

/** Sums of several runs. */
export function addCounts(all: readonly Counts[]): Counts {
  return {
    passed: all.reduce((sum, counts) => sum + counts.passed, 0),
    failed: all.reduce((sum, counts) => sum + counts.failed, 0),
    skipped: all.reduce((sum, counts) => sum + counts.skipped, 0),
  };
}
