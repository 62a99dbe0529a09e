/** What else runs long: evaluation goes on where it was cut off, and Ctrl-C ends a command in order. `graft train` has a file of its own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, expectFailure, micro, start, succeed } from "./process.ts";
import { canMount, onSmallDisk } from "./small-disk.ts";

const scratch = mkdtempSync(join(tmpdir(), "stopped-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** One row at a time, so that there is a middle to be stopped in. */
const evaluate = (output: string) => [
  ...["eval", "--model", micro, "--tasks", "micro-math", "--limit", "40", "--batch-size", "1", "--num-beams", "4"],
  ...["--output", output, "--json"],
];
const samples = (output: string) => join(output, "samples_micro-math.jsonl");
const straight = join(scratch, "straight");
beforeAll(() => succeed(...evaluate(straight)));

async function expectGoesOn(output: string): Promise<void> {
  await succeed(...evaluate(output));
  expect(readFileSync(samples(output), "utf8")).toBe(readFileSync(samples(straight), "utf8"));
  const figures = (folder: string) =>
    (JSON.parse(readFileSync(join(folder, "results.json"), "utf8")) as { results: unknown }).results;
  expect(figures(output)).toEqual(figures(straight));
}

test.each(["SIGINT", "SIGKILL"] as const)("an evaluation that %s cut off goes on and ends the same", async (signal) => {
  const output = join(scratch, signal);
  const run = start(evaluate(output));
  await eventually(
    "a first sample",
    () => (existsSync(samples(output)) && statSync(samples(output)).size) || undefined,
  );
  run.child.kill(signal);
  const outcome = await run.outcome();
  if (signal === "SIGINT")
    expect(outcome).toMatchObject({ code: 130, out: "", err: expect.stringContaining("stopped") });
  else expect(outcome.code).toBe(null);
  const done = readFileSync(samples(output), "utf8").split("\n").length - 1;
  expect(done).toBeGreaterThan(0);
  expect(done).toBeLessThan(40);
  await expectGoesOn(output);
});

test.skipIf(!canMount)("an evaluation whose disk is full says so, and goes on when there is room", async () => {
  const kept = join(scratch, "full");
  expectFailure(
    await onSmallDisk({ kept, size: "16k" }, (disk) => evaluate(join(disk, "results"))),
    1,
    "results/samples_micro-math.jsonl could not be written to: ENOSPC: no space left on device",
    "the disk is full: free some space and try again",
  );
  const output = join(scratch, "roomy");
  cpSync(join(kept, "results"), output, { recursive: true });
  expect(readFileSync(samples(output), "utf8").split("\n").length).toBeGreaterThan(2);
  await expectGoesOn(output);
});

test.skipIf(process.platform !== "linux")("Ctrl-C ends a generation with 130 and no text", async () => {
  const run = start([
    ...[
      "generate",
      "--model",
      micro,
      "--prompt",
      "Tom",
      "--max-new-tokens",
      "250",
      "--ignore-eos",
      "--temperature",
      "1",
    ],
    ...["--num-return-sequences", "256"],
  ]);
  // The driver is loaded after the handler of Ctrl-C is in place, and before the first token.
  await eventually("a device", () => /dawn/.test(readFileSync(`/proc/${run.child.pid}/maps`, "utf8")) || undefined);
  run.child.kill("SIGINT");
  expect(await run.outcome()).toEqual({ code: 130, out: "", err: "graft: stopped\n" });
});
