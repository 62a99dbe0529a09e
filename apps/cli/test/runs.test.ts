/** Recorded runs: `graft runs` as a person calls it on a database that the store filled, and what it computes. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Item, type NewResult, type NewRun, openStore, type RunDetails } from "@graft/server/db";
import {
  cpSync,
  openSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CheckpointError, ConfigError, UnknownName } from "@graft/core/errors";
import { adapterVersion } from "@graft/adapters";
import { compareRuns } from "../src/runs/compare.ts";
import { diffRuns, pairItems } from "../src/runs/diff.ts";
import { graftVersion } from "../src/runs/graft-version.ts";
import { adapterHash, fileHash, kernelTextHash, modelHash, templateHash } from "../src/runs/hashes.ts";
import { checkInputs } from "../src/runs/inputs.ts";
import { duration } from "../src/runs/run-text.ts";
import { withRecordedRuns, withStore } from "../src/runs/with-store.ts";
import { expectFailure, graft, micro, root, succeed } from "./process.ts";

const scratch = mkdtempSync(join(tmpdir(), "runs-cli-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let made = 0;
function file(text: string | Uint8Array, name = "file"): string {
  const folder = join(scratch, `${made++}`);
  mkdirSync(folder);
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

const sha256 = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex");
const at = new Date("2025-01-31T23:59:59.500Z");
const later = (seconds: number): Date => new Date(at.getTime() + 1000 * seconds);

const newRun: NewRun = {
  kind: "eval",
  system: "base",
  model: "models/base",
  adapter: null,
  settings: { model: "models/base", adapter: [], tasks: ["gsm8k"], limit: 20, seed: 7 },
  folder: scratch,
  output: null,
  seed: 7,
  modelHash: "a".repeat(64),
  adapterHash: null,
  kernelHash: null,
  device: "llvmpipe",
  driver: "lavapipe",
  version: "0.1.0",
  commit: null,
};
const withLora: Partial<NewRun> = {
  system: "lora",
  adapter: "out/lora",
  adapterHash: "b".repeat(64),
  settings: { ...newRun.settings, adapter: ["lora=out/lora"] },
};

function newResult(values: readonly Item["value"][], changes: Partial<NewResult> = {}): NewResult {
  const numbers = values.filter((value) => typeof value === "number");
  const value = numbers.reduce((sum, x) => sum + x, 0) / values.length;
  return {
    task: "gsm8k",
    version: 1,
    scoring: "fixed",
    figures: { acc: { value, stderr: 0.1, interval: [value - 0.2, value + 0.2], higherIsBetter: true } },
    primary: "acc",
    count: values.length,
    total: 1319,
    cut: 0,
    datasetPath: "/data/gsm8k/test.json",
    datasetSha256: "d".repeat(64),
    promptsHash: "e".repeat(64),
    answersHash: "f".repeat(64),
    template: "alpaca",
    templateHash: templateHash("alpaca"),
    decoding: { maxNewTokens: 32 },
    contamination: [],
    seconds: 1.5,
    items: values.map((one, i) => ({ docHash: sha256(`doc ${i}`), value: one })),
    ...changes,
  };
}

/** Runs of a database that nobody else sees, as the store gives them back. */
async function record(...all: { run?: Partial<NewRun>; results: readonly NewResult[] }[]): Promise<RunDetails[]> {
  const store = await openStore({ path: ":memory:" });
  const runs: RunDetails[] = [];
  for (const [i, { run, results }] of all.entries()) {
    const id = await store.createRun({ ...newRun, ...run }, later(60 * i));
    for (const result of results) await store.addResult(id, result);
    await store.finishRun(id, { kernelHash: "c".repeat(64) }, later(60 * i + 90));
    runs.push(await store.run(id));
  }
  await store.close();
  return runs;
}

const ones = (count: number, of: number): number[] => Array.from({ length: of }, (_, i) => Number(i < count));

describe("the commands", () => {
  const db = join(scratch, "graft.sqlite");
  let [a, b, c] = ["", "", ""];
  beforeAll(async () => {
    const store = await openStore({ path: db });
    // Of 20 docs: both right on 5, only B on 10, neither on 5.
    a = await store.createRun(newRun, at);
    await store.addResult(a, newResult(ones(5, 20), { contamination: ["3 of 20 questions are in train.json"] }));
    await store.finishRun(a, { kernelHash: "c".repeat(64) }, later(90));
    b = await store.createRun({ ...newRun, ...withLora }, later(86_400));
    await store.addResult(b, newResult(ones(15, 20)));
    await store.addResult(b, newResult([0.5, 0.25], { task: "own" }));
    await store.failRun(b, { state: "failed", error: "the device was lost" }, later(86_400 + 3700));
    c = await store.createRun({ ...newRun, kind: "study" }, later(2 * 86_400));
    await store.close();
  });
  const json = async (...args: string[]): Promise<unknown> =>
    JSON.parse((await succeed("runs", ...args, "--db", db, "--json")).out);

  test("ls: newest first, with figures, state and duration", async () => {
    const { out } = await succeed("runs", "ls", "--db", db);
    expect(out.split("\n").map((line) => line.replaceAll(/ {2,}/g, " | "))).toEqual([
      "run | when (UTC) | state | model | tasks | took",
      `${c} | 2025-02-02 23:59:59 | running | base`,
      `${b} | 2025-02-01 23:59:59 | failed | base + lora | gsm8k acc 0.7500, own acc 0.3750 | 1 h 1 min`,
      `${a} | 2025-01-31 23:59:59 | finished | base | gsm8k acc 0.2500 | 1 min 30 s`,
      "",
    ]);
    expect(await json("ls", "--task", "own")).toMatchObject({
      runs: [{ id: b, results: [{ task: "gsm8k" }, { task: "own" }] }],
    });
    expect(await json("ls", "--limit", "1")).toMatchObject({ runs: [{ id: c, state: "running", finished_at: null }] });
    const none = await graft("runs", "ls", "--db", db, "--task", "boolq");
    expect(none).toEqual({ code: 0, out: "", err: "no run has a result of boolq\n" });
  });

  test("show: figures, settings, hashes, flags; the JSON has every doc", async () => {
    const { out } = await succeed("runs", "show", a.slice(0, 9), "--db", db);
    expect(out).toContain(`eval ${a}: base\n`);
    expect(out).toContain("state    finished after 1 min 30 s\n");
    expect(out).toMatch(/gsm8k +1 +fixed +20 of 1319 +0 +acc \* +0\.2500 +0\.1000 +0\.0500 to 0\.4500 +1\.5\n/);
    expect(out).toContain("contamination\ngsm8k: 3 of 20 questions are in train.json\n");
    expect(out).toMatch(/\n {2}limit +20\n/);
    expect(out).toContain(`model's files    ${"a".repeat(64)}\n`);
    expect(out).toContain(`kernel texts     ${"c".repeat(64)}\n`);
    expect(out).toMatch(/gsm8k +alpaca +\{"maxNewTokens":32\} +d{16} +e{16} +f{16} +\/data\/gsm8k\/test\.json\n/);
    expect((await succeed("runs", "show", b, "--db", db)).out).toContain(
      "failed after 1 h 1 min: the device was lost\n",
    );
    const whole = (await json("show", a)) as {
      settings: unknown;
      model_hash: string;
      results: { figures: unknown; items: unknown[] }[];
    };
    expect(whole.settings).toEqual(newRun.settings);
    expect(whole.results[0]!.items[4]).toEqual({ doc_hash: sha256("doc 4").slice(0, 16), value: 1 });
    expect(whole.results[0]!.figures).toMatchObject({ acc: { value: 0.25, higher_is_better: true } });
    expect(whole.model_hash).toBe("a".repeat(64));
  });

  test("diff: what differs, both figures, and a verdict in words", async () => {
    const { out } = await succeed("runs", "diff", a, b, "--db", db);
    expect(out.split("\n").map((line) => line.replaceAll(/ {2,}/g, " | "))).toEqual([
      `A | ${a} | base`,
      `B | ${b} | base + lora`,
      "",
      "differs | A | B",
      'adapter | [] | ["lora=out/lora"]',
      `adapter's files | | "${"b".repeat(64)}"`.replace(" | | ", " | "),
      `kernel texts | "${"c".repeat(64)}"`,
      "",
      "task | metric | A | B | B - A",
      "gsm8k | acc | 0.2500 | 0.7500 | +0.5000",
      "own | 0.3750",
      "",
      "gsm8k: B really beats A at 5 % (McNemar's exact test: of 20 docs 0 right only in A, 10 only in B; p = 0.0020)",
      "own: only in B",
      "",
    ]);
    const same = (await json("diff", a, a)) as { settings: unknown[]; tasks: unknown[] };
    expect(same.settings).toEqual([]);
    expect(same.tasks).toMatchObject([{ difference: 0, paired: { only_a: 0, only_b: 0, p_value: 1 } }]);
  });

  test("errors: no such run, a prefix of several, no database, a damaged one, a wrong line", async () => {
    expectFailure(await graft("runs", "show", `${a}x`, "--db", db), 1, `no run "${a}x"; did you mean ${a}`);
    expectFailure(await graft("runs", "show", "2025", "--db", db), 1, `several runs begin with "2025"`, c, b, a);
    expectFailure(await graft("runs", "diff", a, "--db", db), 2, "give two runs, not 1");
    expectFailure(await graft("runs", "ls", "--db", "/nowhere.sqlite"), 1, "/nowhere.sqlite: no such database");
    const text = file("no database at all, only a text".repeat(50));
    expectFailure(await graft("runs", "ls", "--db", text), 1, `${text}: cannot be used as graft's database`);
    // The first page says that it is a database; what follows is gone.
    const torn = file(readFileSync(db));
    const page = 4096;
    const handle = openSync(torn, "r+");
    writeSync(handle, new Uint8Array(statSync(torn).size - page).fill(0x5a), 0, undefined, page);
    expectFailure(await graft("runs", "ls", "--db", torn), 1, torn);
    const short = file(readFileSync(db));
    truncateSync(short, 100);
    expectFailure(await graft("runs", "ls", "--db", short), 1, short);
  });

  test("reproduce: only an eval with results, only where all of it is still there", async () => {
    const reproduce = (id: string) => graft("runs", "reproduce", id, "--db", db);
    expectFailure(await reproduce("1999"), 1, 'no run "1999"');
    expectFailure(await reproduce(c), 1, `run ${c} is of kind study; what can be run again is an eval`);
    expectFailure(
      await reproduce(a),
      1,
      `run ${a} cannot be run again: model models/base: cannot be read`,
      "data of gsm8k (/data/gsm8k/test.json): cannot be read",
    );
  });
});

test("an evaluation that is run again from elsewhere is identical; on other data it is not, and that is said before", async () => {
  const folder = join(scratch, "again");
  mkdirSync(folder);
  const rows = join(folder, "micro-common-test.json");
  cpSync(join(root, "models/data/micro-common-test.json"), rows);
  const db = join(folder, "graft.sqlite");
  const adapter = join(root, "models/graft-micro-llama-common");
  const asked = ["--tasks", "micro-common", "--limit", "6", "--data-dir", folder, "--output", join(folder, "out")];
  await succeed("eval", "--model", micro, "--adapter", adapter, "--db", db, ...asked);
  const [first] = await withRecordedRuns(db, (store) => store.runs({ limit: 1 }));
  const again = await succeed("runs", "reproduce", first!.id, "--db", db);
  const [second] = await withRecordedRuns(db, (store) => store.runs({ limit: 1 }));
  expect(second!.id).not.toBe(first!.id);
  expect(again.out).toBe(
    `run ${first!.id} again, as run ${second!.id}:\nmicro-common: identical\nidentical: the numbers match bit for bit\n`,
  );
  const [row, ...rest] = JSON.parse(readFileSync(rows, "utf8")) as unknown[];
  writeFileSync(rows, JSON.stringify([...rest, row]));
  const other = await graft("runs", "reproduce", first!.id, "--db", db, "--json");
  expect(other.code).toBe(1);
  expect(other.err).toContain(`data of micro-common (${rows}): has changed`);
  const { is_identical, tasks } = JSON.parse(other.out) as {
    is_identical: boolean;
    tasks: { differences: string[] }[];
  };
  expect(is_identical).toBe(false);
  expect(tasks[0]!.differences.join()).toMatch(/data: .*prompts: .*doc 1: is another one/);
});

describe("the difference of two runs", () => {
  test("too few discordant docs show nothing; more of the same do", async () => {
    const verdict = async (right: number, wrong: number): Promise<string> => {
      const [a, b] = await record(
        { results: [newResult([...ones(0, right), ...ones(wrong, wrong), 1, 0])] },
        { results: [newResult([...ones(right, right), ...ones(0, wrong), 1, 0])] },
      );
      return diffRuns(a!, b!).tasks[0]!.verdict;
    };
    // Exact: 2 * (1/2)^5 = 0.0625, 2 * (1/2)^6 = 0.03125, 2 * (1 + 9) / 2^9 = 0.0390625.
    expect(await verdict(5, 0)).toBe(
      "no difference is shown at 5 % (McNemar's exact test: of 7 docs 0 right only in A, 5 only in B; p = 0.0625)",
    );
    expect(await verdict(6, 0)).toStartWith(
      "B really beats A at 5 % (McNemar's exact test: of 8 docs 0 right only in A, 6",
    );
    expect(await verdict(0, 6)).toEndWith("6 right only in A, 0 only in B; p = 0.0313)");
    expect(await verdict(0, 6)).toStartWith("A really beats B at 5 %");
    expect(await verdict(8, 1)).toEndWith("1 right only in A, 8 only in B; p = 0.0391)");
  });

  test("only docs of both are compared, whatever their order, and it is said", async () => {
    const all = newResult([1, 1, 1, 1, 0, 0, 0, 0]);
    const [a, b] = await record(
      { results: [all] },
      // The last six, backwards, all right.
      {
        results: [
          {
            ...all,
            items: all.items
              .slice(2)
              .map((item) => ({ ...item, value: 1 }))
              .toReversed(),
            count: 6,
          },
        ],
      },
    );
    const [task] = diffRuns(a!, b!).tasks;
    expect(task!.paired).toMatchObject({ docs: 6, a: 1 / 3, b: 1, onlyA: 0, onlyB: 4, pValue: 0.125 });
    expect(task!.verdict).toContain(
      "; compared are only the 6 docs that both were asked (A 8, B 6): A 0.3333, B 1.0000 on them",
    );
  });

  test("a doc that a data set has twice meets its namesake of the same turn", () => {
    const items = (...pairs: [string, number][]): Item[] => pairs.map(([docHash, value]) => ({ docHash, value }));
    expect(pairItems(items(["x", 1], ["y", 2], ["x", 3]), items(["x", 4], ["x", 5], ["x", 6], ["z", 7]))).toEqual([
      [1, 4],
      [3, 5],
    ]);
  });

  test("values that are not zeros and ones go through the bootstrap; a lower value may be the better one", async () => {
    const values = Array.from({ length: 40 }, (_, i) => (i % 10) / 10);
    const worse = (by: number) => newResult(values.map((x, i) => x + by + (i % 3) / 100));
    const falling = (result: NewResult): NewResult => ({
      ...result,
      figures: { acc: { ...result.figures.acc!, higherIsBetter: false } },
    });
    const [a, b, c, d] = await record(
      { results: [newResult(values)] },
      { results: [worse(0.2)] },
      { results: [falling(newResult(values))] },
      { results: [falling(worse(0.2))] },
    );
    const rising = diffRuns(a!, b!).tasks[0]!;
    expect(rising.paired!.test).toBe("paired bootstrap");
    expect(rising.verdict).toMatch(
      /^B really beats A at 5 % \(paired bootstrap over 40 docs: 95 % interval of B - A from \+0\.2\d+ to \+0\.2\d+; p = 0\.00\d+\)$/,
    );
    expect(diffRuns(c!, d!).tasks[0]!.verdict).toStartWith("A really beats B at 5 %");
    expect(diffRuns(a!, b!)).toEqual(diffRuns(a!, b!));
  });

  test("what cannot be compared says why", async () => {
    const verdict = async (left: Partial<NewResult>, right: Partial<NewResult>): Promise<string> => {
      const [a, b] = await record({ results: [newResult([1, 0], left)] }, { results: [newResult([1, 0], right)] });
      return diffRuns(a!, b!).tasks[0]!.verdict;
    };
    const loss = { value: 2, stderr: 0, interval: [1, 3] as const, higherIsBetter: false };
    const sums: Item[] = [{ docHash: sha256("doc 0"), value: [-1, 2] }];
    expect(await verdict({ version: 1 }, { version: 2 })).toBe(
      "not compared: A ran version 1 of the task, B version 2",
    );
    expect(await verdict({}, { primary: "loss", figures: { loss } })).toBe(
      "not compared: A is measured by acc, B by loss",
    );
    expect(await verdict({}, { items: [{ docHash: sha256("other"), value: 1 }] })).toBe(
      "not tested: no doc was asked by both",
    );
    expect(await verdict({ items: sums }, { items: sums })).toBe(
      "not tested: acc is not a mean of values of single docs",
    );
    expect(await verdict({ scoring: "paper" }, { promptsHash: "0".repeat(64) })).toEndWith(
      '; A is scored by "paper", B by "fixed"; the prompts differ',
    );
  });
});

describe("the comparison of a run with its repetition", () => {
  const values = [1, 0, 1, 0.25];
  const compare = async (changes: Partial<NewResult>, run: Partial<NewRun> = {}) => {
    const [before, after] = await record(
      { results: [newResult(values)] },
      { run, results: [newResult(values, changes)] },
    );
    return compareRuns(before!, after!);
  };

  test("the same numbers and answers are identical, on whatever device", async () => {
    expect(await compare({ seconds: 99 })).toEqual({
      isIdentical: true,
      tasks: [{ task: "gsm8k", differences: [] }],
      surroundings: [],
    });
    expect(await compare({}, { device: "a GPU", commit: "1".repeat(40) })).toMatchObject({
      isIdentical: true,
      surroundings: ["device: a GPU, was llvmpipe", `commit: ${"1".repeat(40)}, was unknown`],
    });
  });

  test.each([
    [
      { figures: { acc: { value: 0.5625 + 2 ** -53, stderr: 0.1, interval: [0.3625, 0.7625], higherIsBetter: true } } },
      ["acc, value: 0.5625000000000001, was 0.5625"],
    ],
    [{ figures: {} }, ["acc: only in the first run"]],
    [{ items: newResult([1, 0, 1, 0.26]).items }, ["doc 4: 0.26, was 0.25"]],
    [{ items: newResult([1, 0, 1, [0.25, 1]]).items }, ["doc 4: [0.25, 1], was 0.25"]],
    [{ items: newResult([1, 0, 1]).items, count: 3 }, ["docs asked: 3, was 4"]],
    [
      { items: newResult(values).items.toReversed() },
      ["doc 1: is another one", "doc 2: is another one", "doc 3: is another one", "doc 4: is another one"],
    ],
    [{ answersHash: "0".repeat(64) }, ["the answers differ, but lead to the same numbers"]],
    [{ datasetSha256: "0".repeat(64) }, [`data: ${"0".repeat(64)}, was ${"d".repeat(64)}`]],
    [{ task: "boolq" }, ["was not run again"]],
  ] as [Partial<NewResult>, string[]][])("%#: each difference is named", async (changes, differences) => {
    const found = await compare(changes);
    expect(found.isIdentical).toBe(false);
    expect(found.tasks).toEqual([{ task: "gsm8k", differences }]);
  });

  test("many docs that differ are counted", async () => {
    const [before, after] = await record({ results: [newResult(ones(0, 30))] }, { results: [newResult(ones(12, 30))] });
    expect(compareRuns(before!, after!).tasks[0]!.differences.slice(-3)).toEqual([
      "doc 4: 1, was 0",
      "doc 5: 1, was 0",
      "7 more of 30 docs differ",
    ]);
  });

  test("values that are no number match themselves; a run without results matches nothing", async () => {
    const odd = newResult([Number.NaN, [Number.NEGATIVE_INFINITY, 3]]);
    const [before, after, empty] = await record({ results: [odd] }, { results: [odd] }, { results: [] });
    expect(compareRuns(before!, after!).isIdentical).toBe(true);
    expect(compareRuns(empty!, after!).isIdentical).toBe(false);
  });
});

describe("hashes", () => {
  /** A model folder; `weights` in MB. */
  function model(weights = 2): string {
    const folder = join(file("{}", "config.json"), "..");
    writeFileSync(join(folder, "tokenizer.json"), '{"a":1}');
    writeFileSync(join(folder, "model.safetensors"), new Uint8Array(weights << 20).fill(7));
    writeFileSync(join(folder, "README.md"), "not a part of it");
    return folder;
  }
  const cacheFile = join(scratch, "cache", "hashes.json");
  const hashOf = (folder: string) => modelHash(folder, { cacheFile });

  test("a model's is that of its files, not of its place; each file that matters changes it", async () => {
    const folder = model();
    const hash = await hashOf(folder);
    expect(hash).toBe(
      sha256(
        `config.json ${sha256("{}")}\nmodel.safetensors ${await fileHash(join(folder, "model.safetensors"))}\ntokenizer.json ${sha256('{"a":1}')}\n`,
      ),
    );
    expect(await hashOf(model())).toBe(hash);
    writeFileSync(join(folder, "README.md"), "still no part of it");
    expect(await hashOf(folder)).toBe(hash);
    for (const name of ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"]) {
      const other = model();
      writeFileSync(join(other, name), "changed");
      expect([name, await hashOf(other)]).not.toEqual([name, hash]);
    }
  });

  test("shards and pickles are weights too", async () => {
    const folder = model();
    rmSync(join(folder, "model.safetensors"));
    const index = join(folder, "model.safetensors.index.json");
    writeFileSync(
      index,
      JSON.stringify({ weight_map: { a: "one.safetensors", b: "two.safetensors", c: "one.safetensors" } }),
    );
    writeFileSync(join(folder, "one.safetensors"), "1");
    await expect(hashOf(folder)).rejects.toThrow(
      new CheckpointError(`${join(folder, "two.safetensors")}: no such file`),
    );
    writeFileSync(join(folder, "two.safetensors"), "2");
    const hash = await hashOf(folder);
    writeFileSync(join(folder, "two.safetensors"), "3");
    expect(await hashOf(folder)).not.toBe(hash);
    rmSync(index);
    await expect(hashOf(folder)).rejects.toThrow(`${folder}: has neither model.safetensors nor pytorch_model.bin`);
    writeFileSync(join(folder, "pytorch_model.bin"), "4");
    expect(await hashOf(folder)).not.toBe(hash);
    rmSync(join(folder, "config.json"));
    await expect(hashOf(folder)).rejects.toThrow(new CheckpointError(`${join(folder, "config.json")}: no such file`));
  });

  test("a large file is read once, and again when it was changed; a damaged cache is made anew", async () => {
    const folder = model();
    const weights = join(folder, "model.safetensors");
    const hash = await hashOf(folder);
    const { mtime } = statSync(weights);
    // Same size, same time: whoever does this on purpose gets the old hash, which shows that nothing was read.
    writeFileSync(weights, new Uint8Array(2 << 20).fill(8));
    utimesSync(weights, mtime, mtime);
    const cache = JSON.parse(readFileSync(cacheFile, "utf8")) as Record<string, { changed: string }>;
    cache[weights]!.changed = String(statSync(weights, { bigint: true }).mtimeNs);
    writeFileSync(cacheFile, JSON.stringify(cache));
    expect(await hashOf(folder)).toBe(hash);
    utimesSync(weights, mtime, later(5));
    const changed = await hashOf(folder);
    expect(changed).not.toBe(hash);
    for (const damage of ["", "[]", '{"x":1}', "\0"]) {
      writeFileSync(cacheFile, damage);
      expect(await hashOf(folder)).toBe(changed);
      expect(Object.keys(JSON.parse(readFileSync(cacheFile, "utf8")) as object)).toEqual([weights]);
    }
  });

  test("an adapter's begins with its version", async () => {
    const folder = join(root, "models/graft-micro-llama-common");
    const hash = await adapterHash(folder);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(hash.slice(0, 16)).toBe(adapterVersion(folder));
    await expect(adapterHash("/nowhere")).rejects.toThrow("/nowhere/adapter_config.json: no such file");
  });

  test("kernel texts count, their order does not", () => {
    const hash = kernelTextHash({ pipelineTexts: ["a", "b"] });
    expect(kernelTextHash({ pipelineTexts: ["b", "a"] })).toBe(hash);
    const others = [["a"], ["a", "b", "b"], ["ab"], ["a\nb"], []].map((pipelineTexts) =>
      kernelTextHash({ pipelineTexts }),
    );
    expect(new Set([hash, ...others]).size).toBe(6);
  });

  test("templates that say different things have different hashes", () => {
    expect(new Set(["alpaca", "paper"].map(templateHash)).size).toBe(2);
    expect(() => templateHash("alpca")).toThrow(UnknownName);
  });

  test("inputs: the same, changed, gone, unknown", async () => {
    const data = file("[1]", "test.json");
    const [run] = await record({
      run: {
        model: micro,
        modelHash: await modelHash(micro, { cacheFile }),
        adapter: "/nowhere",
        adapterHash: "b".repeat(64),
      },
      results: [
        newResult([1], { datasetPath: data, datasetSha256: sha256("[1]") }),
        newResult([1], { task: "boolq", datasetPath: data, templateHash: null }),
      ],
    });
    const checks = await checkInputs(run!, () => undefined);
    expect(checks.map(({ name, state }) => [name, state])).toEqual([
      [`model ${micro}`, "same"],
      ["adapter /nowhere", "missing"],
      [`data of gsm8k (${data})`, "same"],
      [`data of boolq (${data})`, "changed"],
      ["template alpaca of gsm8k", "same"],
      ["template alpaca of boolq", "unknown"],
    ]);
    expect(checks[3]!.said).toBe(
      `data of boolq (${data}): has changed, its hash is ${sha256("[1]").slice(0, 16)}, was ${"d".repeat(16)}`,
    );
  });
});

describe("the version", () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const tree = (files: Readonly<Record<string, string>>): string => {
    const folder = join(scratch, `${made++}`);
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(folder, name, ".."), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    return folder;
  };
  test.each([
    ["a branch", { ".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": `${commit}\n` }, commit],
    [
      "a packed branch",
      {
        ".git/HEAD": "ref: refs/heads/main\n",
        ".git/packed-refs": `# pack-refs\n${"f".repeat(40)} refs/heads/maintenance\n${commit} refs/heads/main\n`,
      },
      commit,
    ],
    ["no branch", { ".git/HEAD": `${commit}\n` }, commit],
    [
      "a worktree",
      {
        ".git": "gitdir: real/worktrees/w\n",
        "real/worktrees/w/HEAD": "ref: refs/heads/main\n",
        "real/worktrees/w/commondir": "../..\n",
        "real/refs/heads/main": commit,
      },
      commit,
    ],
    ["no commit yet", { ".git/HEAD": "ref: refs/heads/main\n" }, null],
    ["a damaged HEAD", { ".git/HEAD": "zzz" }, null],
    ["no checkout", { "README.md": "" }, null],
  ])("%s", (_, files, want) => {
    expect(graftVersion(tree(files))).toEqual({ version: "0.1.0", commit: want });
  });
});

test("with-store: made if need be, `none` is none, a reader wants one that is there", async () => {
  const path = join(scratch, "new", "graft.sqlite");
  expect(() => withRecordedRuns(path, () => 0)).toThrow(ConfigError);
  const id = await withStore(path, (store) => Promise.resolve(store!.createRun(newRun, at)));
  expect(await withRecordedRuns(path, async (store) => (await store.run(id)).system)).toBe("base");
  expect(await withStore("none", (store) => Promise.resolve(store))).toBeUndefined();
  const raw = new Database(path);
  raw.run("DROP TABLE results");
  raw.close();
  await expect(withRecordedRuns(path, (store) => store.run(id))).rejects.toThrow(`${path}: no such table: results`);
});

test.each([
  [0.04, "0.0 s"],
  [59.94, "59.9 s"],
  [60, "1 min 0 s"],
  [3599, "59 min 59 s"],
  [7265, "2 h 1 min"],
])("%d seconds are %s", (seconds, text) => {
  expect(duration({ createdAt: at, finishedAt: later(seconds) })).toBe(text);
});
