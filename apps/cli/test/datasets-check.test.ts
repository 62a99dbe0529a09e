/** `graft datasets check` as a person calls it. */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft } from "./process.ts";
import { shared } from "./shared.ts";

const folder = mkdtempSync(join(tmpdir(), "datasets-check-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const write = (name: string, rows: readonly unknown[]): string => {
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return path;
};

const crates =
  "A barge carries 40 crates of pears and 25 crates of plums. At the lock 13 crates are unloaded. How many crates stay aboard?";
const ropes = "Otto splices 3 ropes an hour. How many ropes has he spliced after 6 hours of work in the yard?";
const tests = write(
  "tests.jsonl",
  [crates, ropes, "How deep is the lock at low water in spring?"].map((question) => ({ question })),
);
const dirty = write("dirty.jsonl", [
  {
    messages: [
      { role: "user", content: `Solve: ${crates.toUpperCase()}` },
      { role: "assistant", content: "52" },
    ],
  },
  { messages: [{ role: "user", content: ropes.replace("yard", "shed") }] },
]);
const clean = write("clean.jsonl", [{ prompt: crates.replace("40", "41"), completion: "53" }]);

interface Output {
  readonly threshold: number;
  readonly missing: readonly string[];
  readonly reports: readonly {
    readonly test: string;
    readonly exact: number;
    readonly near: number;
    readonly matches: readonly object[];
  }[];
}

test("questions that are there: exit code 1, a table, what is where, and pairs to look at", async () => {
  const { code, out, err } = await graft("datasets", "check", dirty, "--tasks", tests, "--show", "1");
  expect({ code, err }).toEqual({ code: 1, err: "" });
  expect(out).toContain("tests.jsonl 2, dirty.jsonl 2 (question): near, 0.9");
  expect(out).toMatch(/^tests\.jsonl\s+3\s+1\s+1\s+67 %$/m);
  expect(out.trimEnd()).toEndWith("tests.jsonl: 67 % of these questions are in dirty.jsonl (1 exact, 1 near)");
});

test("none: exit code 0", async () => {
  const { code, out } = await graft("datasets", "check", clean, "--tasks", tests);
  expect([code, out.trimEnd().split("\n").at(-1)]).toEqual([0, "clean"]);
});

test("--json and --output give the same report; several files are told apart; the threshold decides", async () => {
  const path = join(folder, "report.json");
  const { code, out } = await graft(
    "datasets",
    "check",
    clean,
    dirty,
    "--tasks",
    tests,
    "--threshold",
    "1",
    "--json",
    "--output",
    path,
  );
  const report = JSON.parse(out) as Output;
  expect(code).toBe(1);
  expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(report);
  expect(report.threshold).toBe(1);
  expect(report.reports).toMatchObject([
    { test: "tests.jsonl", exact: 1, near: 0, matches: [{ test: 0, file: "dirty.jsonl", train: 0, kind: "exact" }] },
  ]);
});

test("a task's own file is looked for in --data-dir; of a group, what is missing is told", async () => {
  mkdirSync(join(folder, "gsm8k"), { recursive: true });
  writeFileSync(
    join(folder, "gsm8k/test.json"),
    JSON.stringify([{ instruction: crates, input: "", output: "52", answer: "52.0" }]),
  );
  const { code, out, err } = await graft(
    "datasets",
    "check",
    dirty,
    "--data-dir",
    folder,
    "--tasks",
    "arithmetic",
    "--json",
  );
  const report = JSON.parse(out) as Output;
  expect(code).toBe(1);
  expect(report.reports.map(({ test: name, exact }) => [name, exact])).toEqual([["gsm8k", 1]]);
  expect(report.missing).toContain("svamp");
  expect(err).toContain("not searched for: svamp, whose SVAMP/test.json");
  expectFailure(
    await graft("datasets", "check", dirty, "--data-dir", folder, "--tasks", "svamp"),
    1,
    "SVAMP/test.json",
    "--data-dir",
  );
});

test("bad input is answered in one line", async () => {
  const unknown = write("unknown.jsonl", [{ equation: "x=2" }]);
  expectFailure(
    await graft("datasets", "check", unknown, "--tasks", tests),
    1,
    "unknown.jsonl: line 1: row 1: has no question",
  );
  expectFailure(
    await graft("datasets", "check", join(folder, "none.json"), "--tasks", tests),
    1,
    "none.json: no such file",
  );
  expectFailure(await graft("datasets", "check", dirty, "--tasks", "gsm9k"), 1, 'unknown task "gsm9k"', "gsm8k");
  expectFailure(
    await graft("datasets", "check", dirty, "--tasks", tests, "--threshold", "0.3"),
    2,
    "--threshold: must be at least 0.7, not 0.3",
  );
  expectFailure(await graft("datasets", "check", "--tasks", tests), 2, "missing required argument 'train'");
});

test.skipIf(shared("datasets/llm-adapters/train/math_data.json.gz") === undefined)(
  "math_data.json is flagged against seven test sets of sixteen",
  async () => {
    const train = shared("datasets/llm-adapters/train/math_data.json.gz")!;
    const { code, out } = await graft("datasets", "check", train, "--data-dir", shared("datasets")!, "--json");
    const { reports } = JSON.parse(out) as Output;
    expect([code, reports.length]).toEqual([1, 16]);
    expect(
      Object.fromEntries(reports.filter(({ matches }) => matches.length > 0).map((r) => [r.test, [r.exact, r.near]])),
    ).toEqual({
      addsub: [337, 13],
      aqua: [203, 0],
      gsm8k: [1055, 0],
      mawps: [134, 3],
      multiarith: [491, 1],
      singleeq: [428, 17],
      svamp: [800, 0],
    });
  },
);
