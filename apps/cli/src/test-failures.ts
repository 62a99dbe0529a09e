/** What a test run printed about its failures, so that a long run can end with them. */

/** Lines of one failure that are kept: the last ones, where the error stands. */
const LINES = 40;

/**
 * Reads bun's output, in which turbo may have put "package:test: " before each line, and gives each failed test with what was printed since the test before it.
 * An error outside of tests counts too.
 */
export function failuresIn(output: string): string[] {
  const failures: string[] = [];
  let since: string[] = [];
  for (const raw of output.split("\n")) {
    const line = raw.replace(/^@?[\w/-]+:test: ?/, "").trimEnd();
    // Bun repeats the names at its end.
    if (/^\d+ tests? failed:$/.test(line)) break;
    if (/^\((pass|skip|todo)\)/.test(line) || /\.test\.tsx?:$/.test(line)) since = [];
    else since.push(line);
    if (line.startsWith("(fail)") || line.startsWith("# Unhandled error between tests")) {
      failures.push(since.slice(-LINES).join("\n").trim());
      since = [];
    }
  }
  return failures;
}
