/** `graft train` as a person runs it: spelled in any way, stopped, killed, out of disk, diverging; what was saved is never lost, and going on gives the bytes of never having stopped. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { canMount, onSmallDisk } from "./small-disk.ts";
import { eventually, expectFailure, graft, mathRows, micro, start, succeed } from "./process.ts";

const scratch = mkdtempSync(join(tmpdir(), "train-cli-"));
const folder = (name: string) => join(scratch, name);
const straight = folder("straight");

/** 60 steps with dropout, accumulation, shuffled groups and validation: everything that a resumed run has to find again. */
const train = (outputDir: string, ...more: string[]) => [
  ...["train", "--base_model", micro, "--data_path", mathRows, "--output_dir", outputDir, "--prompt_template", "micro"],
  ...["--max_rows", "128", "--val_set_size", "8", "--batch_size", "4", "--micro_batch_size", "2", "--num_epochs", "2"],
  ...["--learning_rate", "3e-3", "--warmup_steps", "2", "--cutoff_len", "48", "--train_on_inputs", "False"],
  ...["--lora_r", "4", "--target_modules", '["q_proj", "v_proj"]', "--group_by_length"],
  ...["--eval_step", "10", "--save_step", "4", "--save_total_limit", "2", ...more],
];
beforeAll(() => succeed(...train(straight)));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const weights = (at: string) => readFileSync(join(at, "adapter_model.safetensors"));
const checkpoints = (at: string) =>
  readdirSync(at)
    .flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => a - b);
/** All that was recorded, but for the speed. */
const metrics = (at: string) =>
  readFileSync(join(at, "metrics.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => ({ ...(JSON.parse(line) as object), tokensPerSecond: undefined }));

/** The adapter, every recorded loss and what is left in the folder are those of the run that was never stopped. */
function expectAsStraight(at: string): void {
  expect(weights(at).equals(weights(straight))).toBe(true);
  expect(metrics(at)).toEqual(metrics(straight));
  expect(readdirSync(at).filter((name) => name.startsWith("."))).toEqual([]);
}
const firstCheckpoint = (at: string) =>
  eventually(`a checkpoint in ${at}`, () => (existsSync(at) ? checkpoints(at)[0] : undefined));

test("Ctrl-C in the middle saves and exits 130; going on from that path ends as if nothing had been", async () => {
  const at = folder("stopped");
  const run = start(train(at));
  await firstCheckpoint(at);
  run.child.kill("SIGINT");
  const { code, out, err } = await run.outcome();
  expect(code).toBe(130);
  expect(out).toMatch(/^stopped after \d+ steps; the adapter is in /);
  const saved = /stopped at step (\d+); go on with --resume-from-checkpoint (\S+)/.exec(err)!;
  expect(saved[2]).toBe(join(at, `checkpoint-${saved[1]}`));
  expect(Number(saved[1])).toBeLessThan(60);
  await succeed(...train(at, "--resume_from_checkpoint", saved[2]!));
  expectAsStraight(at);
});

test.each(["true", "latest"])("killed with -9 and resumed from %s it ends as if nothing had been", async (word) => {
  const at = folder(`killed-${word}`);
  const run = start(train(at));
  await firstCheckpoint(at);
  run.child.kill("SIGKILL");
  expect((await run.outcome()).code).toBe(null);
  // As if it had been killed while it saved: a folder half-written.
  mkdirSync(join(at, ".checkpoint-99.partial-x"));
  await succeed(...train(at, "--resume-from-checkpoint", word));
  expectAsStraight(at);
});

test("so many checkpoints are kept, and the best one", () => {
  const state = JSON.parse(readFileSync(join(straight, "checkpoint-56/trainer_state.json"), "utf8")) as {
    bestStep: number;
  };
  const best = state.bestStep % 4 === 0 ? [state.bestStep] : [];
  expect(checkpoints(straight)).toEqual([...new Set([...best, 52, 56])].toSorted((a, b) => a - b));
});

test("a new run in the folder of an old one says so and removes none of its checkpoints", async () => {
  const at = folder("reused");
  cpSync(straight, at, { recursive: true });
  const before = checkpoints(at);
  const { err } = await succeed(...train(at, "--max_steps", "14"));
  expect(err).toContain(`${at} has checkpoints of an earlier run, the newest is checkpoint-56; they stay`);
  expect(checkpoints(at)).toEqual([...new Set([...before, 8, 12])].toSorted((a, b) => a - b));
});

test("a loss that is no number stops the run, and the last good checkpoint trains on", async () => {
  const at = folder("diverged");
  await succeed(...train(at, "--max_steps", "6"));
  const good = weights(join(at, "checkpoint-4"));
  const adapter = weights(at);
  const resume = ["--resume_from_checkpoint", "true"];
  expectFailure(
    await graft(...train(at, ...resume, "--learning_rate", "1e38")),
    1,
    "of step ",
    "is NaN at learning rate ",
    `training stopped; try a lower learning rate, or more steps of warm-up; ${join(at, "checkpoint-4")} is kept`,
  );
  expect(checkpoints(at)).toEqual([4]);
  expect(weights(join(at, "checkpoint-4")).equals(good)).toBe(true);
  expect(weights(at).equals(adapter)).toBe(true);
  rmSync(join(at, "adapter_model.safetensors"));
  await succeed(...train(at, ...resume, "--max_steps", "6"));
  expect(weights(at).equals(adapter)).toBe(true);
});

test("a validation loss that is no number is not taken for the best one", async () => {
  const at = folder("overflow");
  const one = ["--max_steps", "1", "--warmup_steps", "0", "--learning_rate", "1e38"];
  expectFailure(
    await graft(...train(at, ...one)),
    1,
    "the validation loss after step 1 is NaN at learning rate 1e+38: training stopped;",
    "no checkpoint had been saved",
  );
  expect(readdirSync(at)).toEqual(["metrics.jsonl"]);
});

test.skipIf(!canMount)("a disk that fills up while saving keeps the checkpoint before, which trains on", async () => {
  const kept = folder("full");
  // Room for one checkpoint and a part of the next.
  expectFailure(
    await onSmallDisk({ kept, size: "150k" }, (disk) => train(join(disk, "out"))),
    1,
    "out/checkpoint-8 could not be written, what was there is unchanged: ENOSPC: no space left on device",
    "the disk is full: free some space and try again",
  );
  const at = join(kept, "out");
  expect(readdirSync(at).toSorted()).toEqual(["checkpoint-4", "metrics.jsonl"]);
  await succeed(...train(at, "--resume_from_checkpoint", "true"));
  expectAsStraight(at);
});

test.skipIf(!canMount)("a disk that is full at the end keeps the adapter of before, config and weights", async () => {
  const kept = folder("full-at-end");
  const few = ["--max_steps", "2", "--save_step", "0", "--val_set_size", "0"];
  await succeed(...train(join(kept, "out"), ...few));
  const read = () =>
    ["adapter_config.json", "adapter_model.safetensors"].map((f) => Bun.hash(readFileSync(join(kept, "out", f))));
  const before = read();
  expectFailure(
    await onSmallDisk({ kept, size: "72k" }, (disk) => train(join(disk, "out"), ...few, "--lora_r", "8")),
    1,
    "out could not be written, what was there is unchanged: ENOSPC",
  );
  expect(read()).toEqual(before);
});

test.skipIf(!canMount)(
  "an output folder that cannot be written to is refused before training, and is as it was",
  async () => {
    const kept = folder("read-only");
    mkdirSync(join(kept, "out"), { recursive: true });
    for (const name of ["out", "out/below", "other"]) {
      const outcome = await onSmallDisk({ kept, size: "1m", mode: "ro" }, (disk) => train(join(disk, name)));
      expectFailure(
        outcome,
        1,
        `${name}: cannot be made or written to (EROFS: read-only file system`,
        "choose another",
      );
      expect(outcome.err).not.toContain("step 1/");
    }
    expect(readdirSync(kept, { recursive: true })).toEqual(["out"]);
  },
);

test("resuming with another adapter, other data or no checkpoint is refused, and nothing is touched", async () => {
  const before = [Bun.hash(weights(straight)), readFileSync(join(straight, "metrics.jsonl"), "utf8")];
  const resume = (...more: string[]) => graft(...train(straight, "--resume_from_checkpoint", ...more));
  const newest = join(straight, "checkpoint-56");
  expectFailure(await resume("true", "--lora_r", "8"), 1, `${newest}: was trained with r 4, now it is 8; resume with`);
  expectFailure(await resume(newest, "--seed", "1"), 1, "the checkpoint was trained on other data or with other batch");
  const damaged = folder("damaged");
  cpSync(newest, damaged, { recursive: true });
  writeFileSync(join(damaged, "optimizer.safetensors"), "");
  expectFailure(
    await resume(damaged),
    1,
    `${join(damaged, "optimizer.safetensors")}: not a safetensors file, it has 0`,
  );
  expectFailure(await resume("/nowhere"), 1, "/nowhere: is no checkpoint (it has no trainer_state.json)");
  const empty = folder("empty");
  expectFailure(await graft(...train(empty, "--resume_from_checkpoint", "true")), 1, `${empty}: has no checkpoint`);
  expect([Bun.hash(weights(straight)), readFileSync(join(straight, "metrics.jsonl"), "utf8")]).toEqual(before);
});

describe("the same run, said in other ways", () => {
  const rows = readFileSync(mathRows, "utf8");
  const data = (name: string, content: string | Uint8Array) => {
    writeFileSync(folder(name), content);
    return folder(name);
  };
  const options = (dataPath: string, outputDir: string) => ({
    ...{ base_model: micro, data_path: dataPath, output_dir: outputDir, batch_size: 4, micro_batch_size: 2 },
    ...{ num_epochs: 1, learning_rate: 3e-4, cutoff_len: 64, val_set_size: 4, eval_step: 2, save_step: 2 },
    ...{ adapter_name: "lora", target_modules: ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"], lora_r: 4 },
    ...{ lora_alpha: 8, use_gradient_checkpointing: true, train_on_inputs: false, group_by_length: true },
    ...{ max_rows: 16, prompt_template: "micro" },
  });
  /** As the paper's repository writes it for python-fire. */
  const asFire = (o: object) =>
    Object.entries(o).flatMap(([key, value]) =>
      value === true && key.startsWith("use_")
        ? [`--${key}`]
        : [`--${key}`, Array.isArray(value) ? JSON.stringify(value) : value === false ? "False" : String(value)],
    );
  const asDashes = (o: object) =>
    Object.entries(o).map(
      ([key, value]) => `--${key.replaceAll("_", "-")}=${Array.isArray(value) ? value.join(",") : String(value)}`,
    );
  const first = folder("fire");
  beforeAll(() => succeed("finetune", ...asFire(options(mathRows, first))));

  test("with dashes, from JSON Lines", async () => {
    const lines = (JSON.parse(rows) as object[]).map((row) => `${JSON.stringify(row)}\n`).join("");
    await succeed("train", ...asDashes(options(data("rows.jsonl", lines), folder("dashes"))));
    expect(weights(folder("dashes")).equals(weights(first))).toBe(true);
  });

  test("in a config file, from .json.gz; a flag wins over the file", async () => {
    const gz = data("rows.json.gz", Bun.gzipSync(Buffer.from(rows)));
    const config = data("run.json", JSON.stringify({ ...options(gz, folder("config")), lora_r: 2 }));
    await succeed("train", "--config", config, "--lora-r", "4");
    expect(weights(folder("config")).equals(weights(first))).toBe(true);
    expect(metrics(folder("config"))).toEqual(metrics(first));
  });
});
