import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addCounts, countsOf } from "./test-counts.ts";

const scratch = mkdtempSync(join(tmpdir(), "counts-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let runs = 0;

/** Runs bun's own test runner on these files. */
function run(files: Readonly<Record<string, string>>) {
  const folder = join(scratch, `${runs++}`);
  mkdirSync(folder);
  for (const [name, body] of Object.entries(files))
    writeFileSync(join(folder, name), `import { expect, test } from "bun:test";\n${body}\n`);
  writeFileSync(join(folder, "package.json"), "{}");
  const junit = join(folder, "junit.xml");
  const { exitCode } = Bun.spawnSync([process.execPath, "test", "--reporter=junit", `--reporter-outfile=${junit}`], {
    cwd: folder,
    stdout: "ignore",
    stderr: "ignore",
  });
  return countsOf(existsSync(junit) ? readFileSync(junit, "utf8") : undefined, exitCode, Object.keys(files));
}

const passes = 'test("passes", () => {});';
const fails = 'test("fails", () => { expect(1).toBe(2); });';

test("what passed, failed and was skipped", () => {
  expect(
    run({ "a.test.ts": `${passes}\ntest.skip("skipped", () => {});\ntest.todo("to do");`, "b.test.ts": passes }),
  ).toEqual({
    passed: 2,
    failed: 0,
    skipped: 2,
  });
  expect(run({ "a.test.ts": `${passes}\n${fails}`, "b.test.ts": fails })).toEqual({ passed: 1, failed: 2, skipped: 0 });
});

test("a file that cannot be loaded is a failure beside the others", () => {
  expect(run({ "a.test.ts": `${passes}\n${fails}`, "b.test.ts": `${passes}\nthrow new Error("at load");` })).toEqual({
    passed: 1,
    failed: 2,
    skipped: 0,
  });
});

test("a file without tests to run is no failure", () => {
  expect(run({ "a.test.ts": passes, "b.test.ts": "void [expect, test];" })).toEqual({
    passed: 1,
    failed: 0,
    skipped: 0,
  });
});

test("a run that died is a failure", () => {
  const dies = 'test("dies", () => { process.kill(process.pid, "SIGKILL"); });';
  expect(run({ "a.test.ts": `${passes}\n${dies}` })).toEqual({ passed: 0, failed: 1, skipped: 0 });
  expect(countsOf('<testsuites name="bun test" tests="3" failures="0" skipped="0">', 139, [])).toEqual({
    passed: 3,
    failed: 1,
    skipped: 0,
  });
});

test("counts add up", () => {
  expect(
    addCounts([
      { passed: 1, failed: 2, skipped: 3 },
      { passed: 10, failed: 20, skipped: 30 },
    ]),
  ).toEqual({ passed: 11, failed: 22, skipped: 33 });
  expect(addCounts([])).toEqual({ passed: 0, failed: 0, skipped: 0 });
});
