/** `graft datasets ls` and `graft datasets pull` as a person meets them; the network stays out of it. */
import { expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, root, start, succeed } from "./process.ts";
import { shared } from "./shared.ts";

interface Listed {
  readonly name: string;
  readonly rows: number;
  readonly licence: string;
  readonly can_be_pulled: boolean;
  readonly test: string | null;
  readonly train: string | null;
}

const newFolder = () => mkdtempSync(join(tmpdir(), "datasets-"));
// What the person running the tests has pulled is not looked at.
const ls = async (...args: string[]): Promise<string> =>
  (await start(["datasets", "ls", ...args], [], { GRAFT_DATA: newFolder() }).outcome()).out;
const list = async (...args: string[]): Promise<Map<string, Listed>> => {
  const { datasets } = JSON.parse(await ls("--json", ...args)) as { datasets: Listed[] };
  return new Map(datasets.map((one) => [one.name, one]));
};

test("ls says of each data set how many rows it has and where its files are", async () => {
  const folder = newFolder();
  mkdirSync(join(folder, "gsm8k"));
  writeFileSync(join(folder, "gsm8k/test.json"), "[]");
  const found = await list("--data-dir", folder);
  expect(found.size).toBe(30);
  expect(found.get("gsm8k")).toMatchObject({
    rows: 1319,
    licence: "MIT",
    test: join(folder, "gsm8k/test.json"),
    train: null,
  });
  expect(found.get("boolq")).toMatchObject({ rows: 3270, test: null, can_be_pulled: true });
  expect(found.get("micro-math")).toMatchObject({
    test: join(root, "models/data/micro-math-test.json"),
    train: join(root, "models/data/micro-math-train.json"),
    can_be_pulled: false,
  });
  const table = await ls("--data-dir", folder);
  expect(table).toMatch(new RegExp(`^gsm8k +1319 +${join(folder, "gsm8k/test.json")} .* MIT +grade-school`, "m"));
  expect(table).toMatch(/^boolq +3270 +not here; can be pulled /m);
});

test.skipIf(!shared("datasets"))("ls finds the published files in their folder, and in LLM-Adapters' own", async () => {
  const folder = shared("datasets")!;
  for (const place of [folder, join(folder, "llm-adapters")]) {
    const found = await list("--data-dir", place);
    const missing = [...found.values()].filter((one) => one.test === null).map((one) => one.name);
    const glue = ["cola", "mrpc", "qqp", "stsb", "mnli", "mnli_mismatch", "qnli", "rte", "wnli"];
    expect(missing).toEqual(place === folder ? glue : ["humaneval", "mt_bench", "sst2", ...glue]);
  }
});

test("pull leaves alone what is there, and says so", async () => {
  const folder = newFolder();
  mkdirSync(join(folder, "AddSub"));
  writeFileSync(join(folder, "AddSub/test.json"), "[]");
  const { out, err } = await succeed("datasets", "pull", "addsub", "--to", folder, "--json");
  expect(JSON.parse(out)).toEqual({
    files: [
      {
        dataset: "addsub",
        path: "AddSub/test.json",
        state: "kept",
        sha256: "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
        sizeBytes: 2,
      },
    ],
    problems: [],
  });
  expect(err).toContain("AddSub/test.json: kept, 2 bytes");
  expect(readdirSync(folder)).toEqual(["AddSub"]);
});

test.skipIf(!shared("datasets/human-eval"))("a file with the hash that Graft knows is not fetched again", async () => {
  const folder = newFolder();
  mkdirSync(join(folder, "human-eval"));
  copyFileSync(shared("datasets/human-eval/HumanEval.jsonl.gz")!, join(folder, "human-eval/HumanEval.jsonl.gz"));
  const { out, err } = await succeed("datasets", "pull", "humaneval", "--to", folder);
  expect(out).toBe(`1 file in ${folder}\n`);
  expect(err).toContain("human-eval/HumanEval.jsonl.gz: unchanged");
});

test("what cannot be pulled is said in one line", async () => {
  const folder = join(newFolder(), "data");
  expectFailure(await graft("datasets", "pull", "--to", folder), 2, "missing required argument 'name'");
  expectFailure(
    await graft("datasets", "pull", "gsm8", "--to", folder),
    1,
    'unknown data set "gsm8"; did you mean gsm8k',
  );
  expectFailure(await graft("datasets", "pull", "mrpc", "--to", folder), 1, "data set mrpc cannot be pulled");
  expect(existsSync(folder)).toBe(false);
  writeFileSync(folder, "");
  expectFailure(await graft("datasets", "pull", "svamp", "--to", folder), 1, "is a file, not a folder");
});
