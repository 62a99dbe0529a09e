/** `graft eval` and `graft runs` as a person meets them. */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, micro, root, succeed } from "./process.ts";

const common = join(root, "models/graft-micro-llama-common");
const scratch = mkdtempSync(join(tmpdir(), "graft-eval-"));
const db = join(scratch, "graft.sqlite");
let folders = 0;
const newFolder = () => join(scratch, `out-${folders++}`);

interface Results {
  readonly results: Record<string, Record<string, number>>;
  readonly graft: { readonly run: string; readonly tasks: Record<string, { readonly contamination: string[] }> };
}
const readJson = <T>(path: string) => JSON.parse(readFileSync(path, "utf8")) as T;
const samplesIn = (path: string) =>
  readFileSync(path, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { doc_id: number; resps: unknown; acc: number });

test("a base and an adapter are measured, compared, written down and recorded", async () => {
  const output = newFolder();
  const { out } = await succeed(
    ...["eval", "--model", micro, "--adapter", "none", "--adapter", `common=${common}`, "--tasks", "micro-common"],
    ...["--limit", "40", "--output", output, "--db", db],
  );
  expect(out).toContain("| common | micro-common | 2 | fixed | 0 | 40 | acc |");
  expect(out).toContain("McNemar | common is better |");
  const results = readJson<Results>(join(output, "common/results.json"));
  expect(results.results["micro-common"]!["acc,fixed"]).toBeGreaterThan(0.7);
  expect(results.results["micro-common"]!.sample_len).toBe(40);
  const samples = samplesIn(join(output, "common/samples_micro-common.jsonl"));
  expect(samples.map((sample) => sample.doc_id)).toEqual([...Array(40).keys()]);
  expect(readFileSync(join(output, "table.md"), "utf8")).toBe(out);
  const page = readFileSync(join(output, "report.html"), "utf8");
  expect(page).toContain("<svg");
  expect(page).toContain("graft-micro-llama, micro-common: 40 of 40 wrong");
  expect(page).not.toContain("<script");

  const listed = await succeed("runs", "ls", "--db", db);
  expect(listed.out).toContain("micro-common");
  const run = results.graft.run;
  const shown = await succeed("runs", "show", run, "--db", db);
  expect(shown.out).toContain(run);
  const again = await succeed("runs", "reproduce", run, "--db", db);
  expect(again.out).toContain("identical");
}, 120_000);

test("the same answers and figures with any batch size, in every scoring", async () => {
  for (const scoring of ["fixed", "paper", "loglikelihood"]) {
    const run = async (batchSize: string) => {
      const output = newFolder();
      await succeed(
        ...["eval", "--model", micro, "--adapter", common, "--tasks", "micro-common,micro-math", "--scoring", scoring],
        ...["--limit", "12", "--batch-size", batchSize, "--output", output, "--db", "none"],
      );
      const suffix = scoring === "fixed" ? "" : `_${scoring}`;
      return ["micro-common", "micro-math"].flatMap((task) =>
        samplesIn(join(output, `samples_${task}${suffix}.jsonl`)),
      );
    };
    const alone = await run("1");
    expect(alone).toHaveLength(24);
    expect(await run("8")).toEqual(alone);
    expect(await run("auto")).toEqual(alone);
  }
}, 240_000);

test("a task of one's own is a file", async () => {
  const rows = join(scratch, "rows.jsonl");
  writeFileSync(
    rows,
    ["red", "blue"].map((colour) => `${JSON.stringify({ what: "ball", colour, options: ["red", "blue"] })}\n`).join(""),
  );
  const task = join(scratch, "colours.json");
  writeFileSync(
    task,
    JSON.stringify({
      task: "colours",
      dataset_path: "rows.jsonl",
      output_type: "multiple_choice",
      doc_to_text: "The {{what}} is {{colour}}. The colour of the {{what}} is",
      doc_to_choice: "options",
      doc_to_target: "colour",
    }),
  );
  const { out } = await succeed("eval", "--model", micro, "--tasks", task, "--db", "none", "--json");
  const { results } = JSON.parse(out) as Results;
  expect(results.colours).toMatchObject({ sample_len: 2 });
  expect(results.colours!["acc,none"]).toBeGreaterThanOrEqual(0);
  const wrong = join(scratch, "wrong.yaml");
  writeFileSync(wrong, "task: wrong\ndataset_path: rows.jsonl\noutput_type: guess\ndoc_to_text: x\ndoc_to_target: y\n");
  expectFailure(await graft("eval", "--model", micro, "--tasks", wrong, "--db", "none"), 1, wrong, "output_type");
}, 60_000);

test("an adapter is asked the way it was trained, tasks run while it trains, and what it has seen is flagged", async () => {
  const seen = join(root, "models/data/micro-common-test.json");
  const adapter = newFolder();
  const { out: trained } = await succeed(
    ...["train", "--base-model", micro, "--data-path", seen, "--output-dir", adapter, "--prompt-template", "alpaca"],
    ...["--max-rows", "16", "--max-steps", "2", "--batch-size", "4", "--micro-batch-size", "4", "--val-set-size", "0"],
    ...[
      "--target-modules",
      "q_proj",
      "--eval-tasks",
      "micro-common",
      "--eval-limit",
      "4",
      "--eval-step",
      "1",
      "--json",
    ],
  );
  const { eval_tasks } = JSON.parse(trained) as { eval_tasks: { step: number; scores: Record<string, number> }[] };
  expect(eval_tasks.map(({ step }) => step)).toEqual([1, 2]);
  expect(eval_tasks[0]!.scores["micro-common"]).toBeGreaterThanOrEqual(0);
  expect(readFileSync(join(adapter, "metrics.jsonl"), "utf8")).toContain('"tasks":{"micro-common":');
  const { out, err } = await succeed(
    ...[
      "eval",
      "--model",
      micro,
      "--adapter",
      adapter,
      "--tasks",
      "micro-common",
      "--limit",
      "20",
      "--db",
      "none",
      "--json",
    ],
  );
  expect(err).toContain("asked with the prompt template alpaca");
  const { graft: own } = JSON.parse(out) as Results;
  expect(own.tasks["micro-common"]!.contamination).toEqual([
    expect.stringMatching(/^100 % of these questions are in micro-common-test\.json/),
  ]);
}, 120_000);

test("a server is measured like the model that it serves, and gives the same answers", async () => {
  const server = Bun.spawn(
    [
      ...[
        process.execPath,
        join(root, "apps/cli/src/main.ts"),
        "serve",
        "--model",
        micro,
        "--adapter",
        `common=${common}`,
      ],
      ...["--port", "0", "--json", "--data-dir", newFolder()],
    ],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  try {
    const { value } = await server.stdout.getReader().read();
    const { url } = JSON.parse(new TextDecoder().decode(value)) as { url: string };
    for (const scoring of ["fixed", "loglikelihood"]) {
      const run = async (...args: readonly string[]) => {
        const output = newFolder();
        const { out } = await succeed(
          ...["eval", ...args, "--tasks", "micro-common", "--scoring", scoring, "--limit", "10", "--output", output],
          ...["--db", "none", "--json"],
        );
        const suffix = scoring === "fixed" ? "" : `_${scoring}`;
        const samples = samplesIn(join(output, `samples_micro-common${suffix}.jsonl`));
        return { results: (JSON.parse(out) as Results).results, said: samples.map(({ resps }) => resps) };
      };
      const own = await run("--model", micro, "--adapter", common);
      const served = await run("--endpoint", `${url}/v1`, "--model", "common");
      expect(served.results).toEqual(own.results);
      if (scoring === "fixed") expect(served.said).toEqual(own.said);
    }
  } finally {
    server.kill();
    await server.exited;
  }
}, 120_000);

test("MT-Bench is judged by the model that is named", async () => {
  const folder = newFolder();
  mkdirSync(join(folder, "mt-bench"), { recursive: true });
  const write = (name: string, rows: readonly object[]) =>
    writeFileSync(join(folder, "mt-bench", name), rows.map((row) => JSON.stringify(row)).join("\n"));
  write("question.jsonl", [{ question_id: 1, category: "writing", turns: ["Tell of Tom.", "Now of Ann."] }]);
  write(
    "judge_prompts.jsonl",
    ["single-v1", "single-v1-multi-turn", "single-math-v1", "single-math-v1-multi-turn"].map((name) => ({
      name,
      system_prompt: "You judge.",
      prompt_template: name.endsWith("multi-turn") ? "{question_2} {answer_2}" : "{question} {answer}",
    })),
  );
  const asked: string[] = [];
  const judge = Bun.serve({
    port: 0,
    async fetch(request) {
      const { messages } = (await request.json()) as { messages: { content: string }[] };
      asked.push(messages.at(-1)!.content);
      const content = `Fair. Rating: [[${asked.at(-1)!.startsWith("Now") ? 5 : 8}]]`;
      return Response.json({ choices: [{ message: { role: "assistant", content } }] });
    },
  });
  try {
    const args = ["eval", "--model", micro, "--tasks", "mt_bench", "--data-dir", folder, "--db", "none", "--json"];
    expectFailure(await graft(...args), 1, "--judge-url");
    const { out } = await succeed(...args, "--judge-url", `${judge.url}v1`, "--judge-model", "judge");
    const { results } = JSON.parse(out) as Results;
    expect(results.mt_bench).toMatchObject({
      "mt_bench,fixed": 6.5,
      "mt_bench_turn1,fixed": 8,
      "mt_bench_turn2,fixed": 5,
    });
    expect(asked).toHaveLength(2);
  } finally {
    await judge.stop(true);
  }
}, 60_000);

test("what cannot be run is said before anything is loaded", async () => {
  const model = ["eval", "--model", micro, "--db", "none"];
  expectFailure(await graft(...model, "--tasks", "gsm8"), 2, 'unknown task "gsm8"; did you mean gsm8k?');
  expectFailure(await graft(...model, "--tasks", "human_eval"), 1, "--allow-code-execution");
  expectFailure(await graft(...model, "--tasks", "micro-math", "--scoring", "papers"), 2, "--scoring");
  expectFailure(await graft(...model, "--tasks", "gsm8k"), 1, "graft datasets pull gsm8k");
  expectFailure(await graft(...model, "--tasks", "micro-math", "--adapter", "a", "--adapter", "b/a"), 2, 'called "a"');
  expectFailure(
    await graft("eval", "--endpoint", "nowhere", "--model", "x", "--tasks", "micro-math", "--db", "none"),
    1,
    "the endpoint",
  );
}, 120_000);
