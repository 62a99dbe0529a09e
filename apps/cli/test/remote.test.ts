/** The commands that talk to a server, as a person meets them, against one real server on the embedded model. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type RunningServer, startServer } from "@graft/server";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, mathRows, micro, type Outcome, root, start } from "./process.ts";

const KEY = "the-admin-key";
const common = join(root, "models/graft-micro-llama-common");
const folder = mkdtempSync(join(tmpdir(), "remote-"));
const rows = join(folder, "rows.json");
let server: RunningServer;

beforeAll(async () => {
  const all = JSON.parse(readFileSync(mathRows, "utf8")) as unknown[];
  writeFileSync(rows, JSON.stringify(all.slice(0, 8)));
  server = await startServer({
    model: micro,
    dtype: "auto",
    maxSequences: 4,
    adapters: { common },
    servedModelName: "base",
    host: "127.0.0.1",
    port: 0,
    dataDir: join(folder, "data"),
    apiKey: KEY,
    log: () => undefined,
  });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

/** A command with the server and the key in its environment. */
const remote = (...args: string[]) => start(args, [], { GRAFT_URL: server.url, GRAFT_API_KEY: KEY });
const graft = (...args: string[]): Promise<Outcome> => remote(...args).outcome();
async function succeed(...args: string[]): Promise<Outcome> {
  const outcome = await graft(...args);
  if (outcome.code !== 0) throw new Error(`graft ${args.join(" ")}: exit code ${outcome.code}\n${outcome.err}`);
  return outcome;
}
const json = async <T>(...args: string[]): Promise<T> => JSON.parse((await succeed(...args, "--json")).out) as T;

/** A command with what it reads, its standard output still to be read. */
function spawn(args: readonly string[], stdin: "ignore" | Uint8Array<ArrayBuffer>) {
  return Bun.spawn([process.execPath, join(root, "apps/cli/src/main.ts"), ...args], {
    stdio: [stdin, "pipe", "pipe"],
    env: { ...process.env, GRAFT_URL: server.url, GRAFT_API_KEY: KEY },
  });
}

/** `graft chat` with lines from a pipe. */
async function talk(args: readonly string[], input: string): Promise<Outcome> {
  const child = spawn(["chat", ...args], new TextEncoder().encode(input));
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, err };
}

async function newestJob(): Promise<{ id: string; status: string }> {
  const headers = { authorization: `Bearer ${KEY}` };
  const answer = await fetch(`${server.url}/v1/fine_tuning/jobs?limit=1`, { headers });
  return ((await answer.json()) as { data: [{ id: string; status: string }] }).data[0];
}

test("ps shows the model, the device, the memory, the requests and the adapters", async () => {
  const { out } = await succeed("ps");
  expect(out).toMatch(/^model +base \(llama, 256 tokens\), up /);
  expect(out).toMatch(/\nrequests +0 running, 0 waiting/);
  expect(out).toMatch(/\ncommon +lora +[0-9a-f]{16} /);
  expect(out).toEndWith("no jobs run or wait\n");
  const { status, adapters, jobs } = await json<{ status: object; adapters: { id: string }[]; jobs: object[] }>("ps");
  expect(status).toMatchObject({ model: "base", model_type: "llama", memory: { weights_bytes: expect.any(Number) } });
  expect([adapters.map(({ id }) => id), jobs]).toEqual([["common"], []]);
});

test("ps --watch shows it again and again, and Ctrl-C ends it", async () => {
  const command = spawn(["ps", "--watch", "--interval", "0.1", "--json"], "ignore");
  let text = "";
  for await (const part of command.stdout.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (text.split("\n").length > 3) command.kill("SIGINT");
  }
  expect(await command.exited).toBe(0);
  const lines = text.trim().split("\n");
  expect(lines.length).toBeGreaterThan(2);
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ status: { model: "base" }, jobs: [] });
});

test("an adapter is pushed, published, rolled back, listed and pulled with the same bytes", async () => {
  const other = join(folder, "other");
  cpSync(common, other, { recursive: true });
  const config = JSON.parse(readFileSync(join(other, "adapter_config.json"), "utf8")) as { lora_alpha: number };
  writeFileSync(join(other, "adapter_config.json"), JSON.stringify({ ...config, lora_alpha: 2 * config.lora_alpha }));

  const first = await succeed("adapters", "push", "facts", common);
  expect(first.out).toMatch(/^facts version 1 \([0-9a-f]{16}\) is published\n$/);
  const second = await succeed("adapters", "push", "facts", other, "--no-publish");
  expect(second.out).toMatch(/^facts version 2 \(.*\) is not published \(`graft adapters publish facts 2`\)\n$/);
  expect((await succeed("adapters", "publish", "facts", "2")).out).toBe("facts is version 2\n");
  expect((await succeed("adapters", "rollback", "facts")).out).toBe("facts is version 1\n");
  expectFailure(await graft("adapters", "publish", "facts", "9"), 1, "facts", "no version 9");
  expectFailure(await graft("adapters", "publish", "facts", "last"), 2, 'a version is a number, such as 3, not "last"');

  expect((await succeed("adapters", "ls", "--remote")).out).toMatch(/\nfacts +1 +2 +lora +71,680 /);
  const { adapters } = await json<{ adapters: { name: string; versions: number }[] }>("adapters", "ls", "--remote");
  expect(adapters.find(({ name }) => name === "facts")).toMatchObject({ current_version: 1, versions: 2 });
  expectFailure(await graft("adapters", "ls", "--remote", folder), 2, "folders do not go with --remote");

  const pulled = join(folder, "pulled");
  await succeed("adapters", "pull", "facts", "--version", "2", "--output", pulled);
  for (const file of ["adapter_config.json", "adapter_model.safetensors"])
    expect(readFileSync(join(pulled, file))).toEqual(readFileSync(join(other, file)));
  expectFailure(await graft("adapters", "pull", "facts", "--output", pulled), 1, pulled, "is not empty");
  const missing = join(folder, "missing");
  expectFailure(
    await graft("adapters", "pull", "facts", "--version", "9", "--output", missing),
    1,
    "facts has no version 9",
  );
  expectFailure(await graft("adapters", "pull", "nobody", "--output", missing), 1, "nobody");
  expect(existsSync(missing)).toBe(false);
  expectFailure(await graft("adapters", "push", "x", folder), 1, folder, "is no adapter folder");
});

test("a job is created with its data, waited for, and its result can be asked", async () => {
  const settings = ["--set", "r=2,max_steps=3", "--set", "target_modules=q_proj,v_proj", "--set", "learning-rate=1e-3"];
  const outcome = await graft(
    "jobs",
    "create",
    "--file",
    rows,
    "--suffix",
    "mine",
    "--seed",
    "5",
    ...settings,
    "--wait",
  );
  expect(outcome.err).toContain(`${rows} is file-`);
  expect(outcome.err).toContain("step 3/3  loss ");
  expect([outcome.code, outcome.out]).toEqual([
    0,
    expect.stringMatching(/^job ftjob-\w+ succeeded: the adapter is served as ft:base:graft:mine:\w{8}\n$/),
  ]);
  const { jobs } = await json<{ jobs: { id: string; fine_tuned_model: string; method: object; seed: number }[] }>(
    "jobs",
    "ls",
  );
  const [job] = jobs;
  expect(job).toMatchObject({
    seed: 5,
    method: {
      supervised: {
        hyperparameters: { max_steps: 3, learning_rate: 1e-3 },
        adapter: { name: "lora", r: 2, target_modules: ["q_proj", "v_proj"] },
      },
    },
  });
  expect((await succeed("jobs", "ls")).out).toContain(`${job!.id}  `);
  const answered = await talk(["--model", job!.fine_tuned_model, "--max-tokens", "4"], "Tom has 3 apples.\n");
  expect(answered.code).toBe(0);

  const past = (await succeed("jobs", "logs", job!.id)).out;
  expect(past).toContain("Step 3/3: training loss=");
  expect((await succeed("jobs", "logs", job!.id, "-f")).out).toBe(past);
  expect((await succeed("help", "jobs", "logs")).out).toContain("-f, --follow [true|false]");
  const lines = (await succeed("jobs", "logs", job!.id, "--json")).out.trim().split("\n");
  expect(lines).toHaveLength(past.trim().split("\n").length);
  expect(JSON.parse(lines[0]!)).toMatchObject({ object: "fine_tuning.job.event", level: "info" });
  expectFailure(await graft("jobs", "cancel", job!.id), 1, "succeeded");
});

test("Ctrl-C leaves a job running, which is paused, resumed, followed and cancelled", async () => {
  const long = ["--set", "r=2,n_epochs=100000,save_steps=0,eval_steps=0"];
  const command = remote("jobs", "create", "--file", rows, ...long, "--wait");
  let job = await newestJob();
  while (job.status !== "running") job = await newestJob();
  command.child.kill("SIGINT");
  const detached = await command.outcome();
  expect([detached.code, detached.out]).toEqual([130, ""]);
  expect(detached.err).toContain(`job ${job.id} goes on; \`graft jobs logs ${job.id} --follow\` follows it`);

  expect((await succeed("ps")).out).toMatch(new RegExp(`\\n${job.id} +running +base +lora +`));
  await succeed("jobs", "pause", job.id);
  const resumed = await json<{ status: string }>("jobs", "resume", job.id);
  expect(["queued", "running"]).toContain(resumed.status);
  const follower = remote("jobs", "logs", job.id, "--follow");
  expect((await json<{ status: string }>("jobs", "cancel", job.id)).status).toBe("cancelled");
  const followed = await follower.outcome();
  expect([followed.code, followed.err]).toEqual([0, ""]);
  expect(followed.out).toContain("Created fine-tuning job");
});

test("wrong jobs are refused before anything is sent, or in the server's words", async () => {
  expectFailure(await graft("jobs", "create"), 2, "give --file or --training-file, one of the two");
  expectFailure(await graft("jobs", "create", "--file", rows, "--set", "rang=3"), 2, 'lora has no setting "rang"');
  expectFailure(await graft("jobs", "create", "--file", "/nowhere.json"), 1, "/nowhere.json: there is no such file");
  expectFailure(
    await graft("jobs", "create", "--training-file", "file-x"),
    1,
    "training_file: there is no file file-x",
  );
  expectFailure(await graft("jobs", "logs", "ftjob-x", "--follow"), 1, "no job ftjob-x");
  expectFailure(await graft("jobs", "pause", "../keys"), 1, "../keys");
  writeFileSync(join(folder, "bad.jsonl"), '{"prompt": "a", "completion": "b"}\n{"prompt": 3}\n');
  const { code, err } = await graft("jobs", "create", "--file", join(folder, "bad.jsonl"));
  expect(code).toBe(1);
  expect(err).toMatch(/\ngraft: .*line 2/);
});

test("keys are made, listed without themselves, and revoked; what a key may not do is said", async () => {
  const made = await json<{ key: string; id: string }>(
    "keys",
    "create",
    "laptop",
    "--scopes",
    "infer",
    "--requests-per-minute",
    "90",
  );
  expect(made.key).toStartWith("gk-");
  const { out } = await succeed("keys", "ls");
  expect(out).toMatch(new RegExp(`\\n${made.id} +laptop +${made.key.slice(0, 7)} +infer +90 `));
  expect(out).not.toContain(made.key);

  const asLaptop = (...args: string[]) => start(args, [], { GRAFT_URL: server.url, GRAFT_API_KEY: made.key }).outcome();
  expect((await asLaptop("ps")).out).toContain("(this key may not see them)");
  expectFailure(await asLaptop("jobs", "ls"), 1, "it needs the scope train");
  expect((await succeed("keys", "revoke", made.id)).out).toBe(`key ${made.id} is revoked\n`);
  const refused = await asLaptop("ps");
  expectFailure(refused, 1, "Incorrect API key", "give --api-key, or set GRAFT_API_KEY");
  expect(refused.err).not.toContain(made.key);
});

test("a chat answers each line of a pipe, remembers, and switches models", async () => {
  const first = "Tom has 3 apples and Sara gives him 4 more. How many apples does Tom have?";
  const lines = `${first}\n/model common\n/models\n\n"""One\ntwo"""\n/reset\n//etc\n/quit\nnever\n`;
  const { code, out, err } = await talk(["--temperature", "0", "--max-tokens", "8", "--json"], lines);
  expect(code).toBe(0);
  expect(err).toStartWith("the model is common\n  base\n");
  expect(err).toContain("\n* common\n");
  const answers = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { model: string; prompt: string; usage: { prompt_tokens: number } });
  expect(answers.map(({ model, prompt }) => [model, prompt])).toEqual([
    ["base", first],
    ["common", "One\ntwo"],
    ["common", "/etc"],
  ]);
  // The second has the first in its conversation, the third does not.
  const [one, two, three] = answers.map(({ usage }) => usage.prompt_tokens) as [number, number, number];
  expect(two).toBeGreaterThan(one);
  expect(three).toBeLessThan(one);
});

test("a chat's failures name what is there", async () => {
  expectFailure(await talk(["--model", "comon"], ""), 1, 'the server has no model "comon"; did you mean common?');
  expectFailure(await talk([], "/modle\n"), 1, "there is no command /modle; did you mean model");
  expectFailure(await talk([], '"""no end\n'), 1, 'the text that """ begins has no end');
  expectFailure(await talk([], `${"long ".repeat(400)}\n`), 1, "maximum context length is 256 tokens");
});

test("bench serve measures every case", async () => {
  const {
    cases,
    mixed_to_base: mixed,
    many_to_few: many,
  } = await json<{
    cases: { streams: number; adapters: number; between_tokens_ms: object }[];
    mixed_to_base: object[];
    many_to_few: object[];
  }>(
    ...["bench", "serve", "--streams", "1,2", "--adapters", "0,1", "--rounds", "1", "--warm-up", "0"],
    ...["--prompt-tokens", "4", "--max-tokens", "3"],
  );
  expect(cases.map(({ streams, adapters }) => [streams, adapters])).toEqual([
    [1, 0],
    [1, 1],
    [2, 0],
    [2, 1],
  ]);
  for (const one of cases) expect(Object.keys(one.between_tokens_ms)).toEqual(["p50", "p95", "p99"]);
  expect([mixed.length, many.length]).toEqual([2, 2]);
  expectFailure(await graft("bench", "serve", "--adapters", "0,999"), 1, "--adapters 999");
  expectFailure(
    await graft("bench", "serve", "--adapters", "0", "--max-tokens", "250"),
    1,
    "--prompt-tokens and --max-tokens are 282",
  );
});

test("a server that is not there is said, with what to start", async () => {
  expectFailure(
    await graft("ps", "--url", "http://127.0.0.1:9"),
    1,
    "http://127.0.0.1:9: no server can be reached there",
    "start one with `graft serve --model DIR`",
  );
  expectFailure(await graft("ps", "--url", "nowhere"), 2, "--url: must be an address such as http://127.0.0.1:8000");
});
