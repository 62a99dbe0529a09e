/** study as a person calls it, small. */
import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CellResult, StudyResults } from "../src/study/results.ts";
import { eventually, expectFailure, graft, mathRows, root, start, succeed } from "./process.ts";

const scratch = mkdtempSync(join(tmpdir(), "study-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const small = ["--micro", "--models", "graft-micro-bloom", "--tasks", "micro-common", "--steps", "3", "--limit", "4"];
const resultsOf = ({ out }: { readonly out: string }) => JSON.parse(out) as StudyResults;

/** Every file below a folder that ends so. */
function find(folder: string, end: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(end))
    .map((name) => join(folder, name));
}

test("the study that comes with Graft trains and measures each cell, keeps it, and draws tables and pictures", async () => {
  const folder = join(scratch, "micro");
  const args = ["study", ...small, "--methods", "lora,Prefix", "--output-dir", folder, "--json"];
  const { cells } = resultsOf(await succeed(...args));
  expect(cells.map((cell) => cell.title)).toEqual(["none", "Prefix", "LoRA"]);
  for (const { title, trained, trainable_parameters: parameters, scores } of cells.slice(1)) {
    const isTrained = trained !== null && trained.final_loss! > 0 && trained.seconds > 0 && parameters > 0;
    expect({ title, isTrained, steps: trained?.steps }).toEqual({ title, isTrained: true, steps: 3 });
    expect(scores.map(({ task, count, outcomes }) => ({ task, count, problems: outcomes?.length }))).toEqual([
      { task: "micro-common", count: 4, problems: 4 },
    ]);
  }
  expect(find(folder, "trainer_state.json")).toEqual([]);
  const table = readFileSync(join(folder, "table.md"), "utf8");
  expect(table).toMatch(/\| graft-micro-bloom \| LoRA \| \d+\.\d ± \d+\.\d \|/);
  const svg = readFileSync(join(folder, "study.svg"), "utf8");
  for (const word of ["LoRA", "Prefix", "micro-common"]) expect(svg).toContain(word);
  expect(readFileSync(join(folder, "study.html"), "utf8")).toContain("<svg");

  // Again: nothing is trained or measured. Of a longer training nothing is there; of more problems the adapters are.
  const [adapter] = find(folder, "adapter_model.safetensors");
  const before = statSync(adapter!).mtimeMs;
  const again = await succeed(...args);
  expect(again.err.match(/\(done before\)/g)?.length).toBe(3);
  expect(resultsOf(again).cells).toEqual(cells);
  const more = await succeed(...args.with(args.indexOf("4"), "5"));
  expect(more.err).not.toContain("done before");
  expect(more.err).not.toContain("step 1/");
  expect(resultsOf(more).cells[2]!.scores[0]!.count).toBe(5);
  expect(statSync(adapter!).mtimeMs).toBe(before);
  const longer = await succeed(...args.with(args.indexOf("3"), "4").with(args.indexOf("lora,Prefix"), "LoRA"));
  expect(longer.err).toContain("none  (done before)");
  expect(longer.err).toContain("step 1/4");
});

const file = join(scratch, "grid.yaml");
writeFileSync(
  file,
  JSON.stringify({
    name: "grid",
    models: [join(root, "models/graft-micro-llama")],
    base: false,
    tasks: [{ name: "math", train: mathRows, train_max_rows: 64, eval: ["micro-math"] }],
    seeds: [3],
    training: {
      prompt_template: "micro",
      cutoff_len: 48,
      train_on_inputs: false,
      batch_size: 4,
      micro_batch_size: 4,
      num_epochs: 100,
      max_steps: 30,
      learning_rate: 0.01,
      warmup_steps: 1,
    },
    evaluation: { limit: 6 },
    variants: [
      { title: "LoRA", method: "lora", placement: ["attention", "mlp"], settings: { r: 4, lora_dropout: 0.1 } },
      { title: "Diverging", method: "parallel", learning_rate: 1e30, settings: { bottleneck_size: 4 } },
    ],
  }),
);
const placements = ({ cells }: StudyResults): readonly (CellResult | undefined)[] =>
  ["attention", "mlp"].map((name) => cells.find(({ placement }) => placement === name));

test("a study that Ctrl-C stopped within a cell goes on there and ends the same; a rate that is too high ends its own cell alone", async () => {
  const straight = join(scratch, "straight");
  const whole = resultsOf(await succeed("study", file, "--output-dir", straight, "--json"));
  expect(placements(whole).every((cell) => cell?.scores[0]?.count === 6)).toBe(true);
  const failed = whole.cells.at(-1)!;
  expect(failed.trained?.failure).toContain("try a lower learning rate");
  expect(failed.scores).toEqual([]);
  expect(readFileSync(join(straight, "table.md"), "utf8")).toContain("| Diverging |  | diverged |");
  expect(existsSync(join(straight, "placement.svg"))).toBe(true);

  const parts = join(scratch, "parts");
  const run = start(["study", file, "--output-dir", parts, "--json"]);
  await eventually("a first step", () => find(parts, "metrics.jsonl")[0]);
  run.child.kill("SIGINT");
  const outcome = await run.outcome();
  expect(outcome).toMatchObject({
    code: 130,
    out: "",
    err: expect.stringContaining("stopped; the same command goes on from here"),
  });
  const checkpoints = find(parts, "trainer_state.json");
  expect(checkpoints.length).toBe(1);
  expect(find(parts, "trained.json")).toEqual([]);

  const rest = resultsOf(await succeed("study", file, "--output-dir", parts, "--json"));
  const facts = (results: StudyResults) =>
    results.cells.map(({ trained, scores, ...cell }) => ({
      ...cell,
      loss: trained?.final_loss,
      steps: trained?.steps,
      outcomes: scores.map((score) => score.outcomes),
    }));
  expect(facts(rest)).toEqual(facts(whole));
  for (const path of find(straight, "adapter_model.safetensors"))
    expect(readFileSync(path.replace(straight, parts)).equals(readFileSync(path))).toBe(true);
});

test("a dry run says what would be trained and touches nothing", async () => {
  const output = join(scratch, "dry");
  const { out } = await succeed("study", file, "--dry-run", "--output-dir", output);
  expect(out).toMatch(/graft-micro-llama {2}math {2}LoRA \(attention\) +14,336 +30\n/);
  expect(out).toEndWith("3 cells, 90 steps\n");
  expect(existsSync(output)).toBe(false);
  const only = JSON.parse((await succeed("study", file, "--dry-run", "--only", "LoRA.*mlp", "--json")).out) as {
    cell: string;
    steps: number;
  }[];
  expect(only.map(({ cell, steps }) => [cell, steps])).toEqual([["graft-micro-llama  math  LoRA (mlp)", 30]]);
  expect((await succeed("study", "--micro", "--dry-run")).out).toContain("micro-math  LoRA (both, r 32)");
});

test("wrong names and files are answered with what is right", async () => {
  expectFailure(await graft("study"), 2, "--micro");
  expectFailure(await graft("study", file, "--micro"), 2, "--micro");
  expectFailure(await graft("study", "--micro", "--methods", "lorra"), 2, "lorra", "lora");
  expectFailure(
    await graft("study", "--micro", "--models", "graft-micro-lama"),
    2,
    "graft-micro-lama",
    "graft-micro-llama",
  );
  expectFailure(
    await graft("study", file, "--only", "nothing like it"),
    2,
    "no cell of this study is left: none matches nothing like it",
  );
  expectFailure(await graft("study", file, "--only", "("), 2, "--only: ( is no regular expression");
  expectFailure(await graft("study", join(scratch, "nowhere.yaml")), 1, "nowhere.yaml: cannot be read");
  const wrong = (name: string, change: object) => {
    const path = join(scratch, name);
    writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(file, "utf8")) as object), ...change }));
    return graft("study", path, "--dry-run");
  };
  const task = { name: "math", train: mathRows, eval: "micro-mth" };
  expectFailure(await wrong("task.json", { tasks: [task] }), 1, 'unknown task "micro-mth"', "micro-math");
  expectFailure(
    await wrong("rows.json", { tasks: [{ ...task, train: "nowhere.json", eval: "micro-math" }] }),
    1,
    "nowhere.json",
  );
  expectFailure(await wrong("code.json", { tasks: [{ ...task, eval: "human_eval" }] }), 1, "needs code-execution");
  expectFailure(
    await wrong("data.json", { tasks: [{ ...task, eval: "gsm8k" }], evaluation: { data_dir: scratch } }),
    1,
    "data set gsm8k: ",
    "there is no test set",
  );
});
