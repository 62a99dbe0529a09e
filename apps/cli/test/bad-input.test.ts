/** Bad input at the command line: each case gets one line that says where, what rule, what was given, and nothing is lost. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, mathRows, micro, root, succeed } from "./process.ts";

const scratch = mkdtempSync(join(tmpdir(), "bad-input-"));
const common = join(root, "models/graft-micro-llama-common");
/** Holds an adapter and its metrics from before: no failure may touch them. */
const out = join(scratch, "out");
beforeAll(() => cpSync(common, out, { recursive: true }));
afterEach(() => {
  for (const name of readdirSync(out))
    expect(readFileSync(join(out, name)).equals(readFileSync(join(common, name)))).toBe(true);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let made = 0;
function file(text: string | Uint8Array, name = "rows.json"): string {
  const folder = join(scratch, `${made++}`);
  mkdirSync(folder);
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}
/** A copy of a folder with one thing changed. */
function changed(from: string, change: (folder: string) => void): string {
  const folder = join(scratch, `${made++}`);
  cpSync(from, folder, { recursive: true });
  change(folder);
  return folder;
}
function edit(path: string, change: (text: string) => string): void {
  const text = readFileSync(path, "utf8");
  const edited = change(text);
  if (edited === text) throw new Error(`nothing was changed in ${path}`);
  writeFileSync(path, edited);
}
/** Changes the header of a safetensors file and leaves its length and data: a file that lies. */
function lie(path: string, change: (header: string) => string): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  const before = bytes.toString("utf8", 8, 8 + length);
  const after = change(before).trimEnd().padEnd(length);
  if (after.trimEnd() === before.trimEnd() || after.length !== length) throw new Error(`no such lie in ${path}`);
  bytes.write(after, 8);
  writeFileSync(path, bytes);
}

const train = (model: string, ...more: string[]) => [
  ...["train", "--base_model", model, "--output_dir", out, "--max_rows", "8", "--val_set_size", "0"],
  ...["--batch_size", "4", "--micro_batch_size", "4", "--num_epochs", "1", "--prompt_template", "micro"],
  ...(more.includes("--data_path") ? [] : ["--data_path", mathRows]),
  ...more,
];
const texts = file('[{"text": "Tom has a dog."}]');
const generate = (model: string, ...more: string[]) => ["generate", "--model", model, "--prompt", "Tom", ...more];
const score = (model: string, ...more: string[]) => ["score", "--model", model, "--file", texts, ...more];
const evaluate = (model: string, ...more: string[]) => ["eval", "--model", model, "--tasks", "micro-math", ...more];
const serve = (model: string, ...more: string[]) => [
  ...["serve", "--model", model, "--port", "0", "--data-dir", join(scratch, "data"), ...more],
];
const onModel = { train, generate, score, eval: evaluate, serve };

/** One bad folder, and what each command says of it. */
async function refused(lines: readonly string[][], code: number, ...says: string[]): Promise<void> {
  for (const outcome of await Promise.all(lines.map((line) => graft(...line)))) expectFailure(outcome, code, ...says);
}

describe("a model folder", () => {
  const weights = (folder: string) => join(folder, "model.safetensors");
  const embedding = "tensor model.embed_tokens.weight";
  const cases: Record<string, [make: () => string, ...says: string[]]> = {
    "that is not there": [() => join(scratch, "nowhere"), "nowhere: no such folder"],
    "without weights": [
      () => changed(micro, (f) => rmSync(weights(f))),
      "has no weights; looked for model.safetensors",
    ],
    "with a config.json that is cut off": [
      () => changed(micro, (f) => truncateSync(join(f, "config.json"), 30)),
      "config.json: is not valid JSON",
    ],
    "of another architecture": [
      () => changed(micro, (f) => edit(join(f, "config.json"), (s) => s.replace('"llama"', '"lama"'))),
      'config.json: unknown model_type "lama"; did you mean llama?',
    ],
    "whose weights are cut off": [
      () => changed(micro, (f) => truncateSync(weights(f), 1_000_000)),
      "model.safetensors: tensor model.layers.2.",
      "the file has 996000; truncated?",
    ],
    "whose weights are something else": [
      () => changed(micro, (f) => writeFileSync(weights(f), "<html>not found</html>")),
      "model.safetensors: header claims",
      "not a safetensors file, or damaged",
    ],
    "whose weights lie about a shape": [
      () => changed(micro, (f) => lie(weights(f), (s) => s.replace("[512,128]", "[128,512]"))),
      `${embedding} is [128,512], config.json says [512,128]`,
    ],
    "whose weights lie about a size": [
      () => changed(micro, (f) => lie(weights(f), (s) => s.replace("[512,128]", "[513,128]"))),
      `model.safetensors: ${embedding}: F16 of shape [513,128] needs 131328 bytes, its offsets span 131072`,
    ],
    "whose weights are integers": [
      () => changed(micro, (f) => lie(weights(f), (s) => s.replaceAll('"F16"', '"I16"'))),
      `${embedding} is I16, weights are F32, F16, BF16 or F64; if the checkpoint is quantized, take the original`,
    ],
    "whose weights are of no known dtype": [
      () => changed(micro, (f) => lie(weights(f), (s) => s.replaceAll('"F16"', '"F99"'))),
      `${embedding}: unknown dtype "F99"; known: BOOL`,
    ],
    "with a tensor of another name": [
      () => changed(micro, (f) => lie(weights(f), (s) => s.replaceAll("q_proj", "q_porj"))),
      "do not belong to a llama of this config.json, the first is model.layers.0.self_attn.q_porj.weight",
    ],
    "with a damaged tokenizer": [
      () => changed(micro, (f) => truncateSync(join(f, "tokenizer.json"), 100)),
      "tokenizer.json: is not valid JSON",
    ],
  };
  test.each(Object.entries(cases))("%s is refused by every command", async (_, [make, ...says]) => {
    const folder = make();
    await refused(
      Object.values(onModel).map((line) => line(folder)),
      1,
      folder,
      ...says,
    );
  });

  test("that is empty, a file, or an adapter is told so", async () => {
    const empty = join(scratch, "empty");
    mkdirSync(empty);
    for (const line of [train, generate, score, evaluate])
      await refused([line(empty)], 1, `${empty}: is no model folder, it has no config.json`);
    await refused([serve(empty)], 1, `${empty}: has neither tokenizer.json nor tokenizer.model`);
    await refused([generate(mathRows)], 1, `${mathRows}: is a file; a model is a folder with config.json`);
    await refused([generate(common)], 1, `${common}: is an adapter; give its base as the model`);
  });

  test("without a tokenizer serves ids, and is refused where text is needed", async () => {
    const folder = changed(micro, (f) => rmSync(join(f, "tokenizer.json")));
    const ids = await succeed("generate", "--model", folder, "--prompt-ids", "1,5", "--max-new-tokens", "2");
    expect(ids.out).toMatch(/^\d+,\d+\n$/);
    await refused([generate(folder)], 1, `${folder}: has no tokenizer; give --prompt-ids`);
    await refused([score(folder)], 1, `${folder}: has no tokenizer; give ids`);
    await refused(
      [train(folder), evaluate(folder), serve(folder)],
      1,
      `${folder}: has neither tokenizer.json nor tokenizer.model`,
    );
  });
});

describe("an adapter", () => {
  const weights = (folder: string) => join(folder, "adapter_model.safetensors");
  const config = (change: (text: string) => string) => () =>
    changed(common, (f) => edit(join(f, "adapter_config.json"), change));
  const first = "tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  /** The same architecture half as wide. */
  const narrow = () =>
    changed(common, (f) => {
      lie(weights(f), (s) => s.replaceAll("[8,128]", "[16,64]"));
    });
  const cases: Record<string, [make: () => string, ...says: string[]]> = {
    "that is not there": [() => join(scratch, "nowhere"), "nowhere: no such adapter folder"],
    "that is a model": [() => micro, `${micro}: is no adapter folder, it has no adapter_config.json`],
    "for a base of another width": [
      narrow,
      `${first} is [16,64], this base needs [8,128]; is the adapter for another base?`,
    ],
    "for a base with other names": [
      () => changed(common, (f) => lie(weights(f), (s) => s.replaceAll("self_attn.q_proj", "attention.query"))),
      `has no ${first}, which LORA with this config needs on this base; is the adapter for another base?`,
    ],
    "for modules that the base does not have": [
      config((s) => s.replace('"all-linear"', '["q_porj"]')),
      'target module "q_porj" is no module of this model; did you mean q_proj or k_proj or v_proj? Available: embed_tokens',
    ],
    "of rank 0": [config((s) => s.replace('"r": 8', '"r": 0')), "adapter_config.json: r: r must be at least 1"],
    "of an unknown method": [
      config((s) => s.replace('"LORA"', '"LORRA"')),
      'unknown peft_type "LORRA"; did you mean LORA?',
    ],
    "whose config is cut off": [
      () => changed(common, (f) => truncateSync(join(f, "adapter_config.json"), 50)),
      "adapter_config.json: is not valid JSON",
    ],
    "whose weights are cut off": [
      () => changed(common, (f) => truncateSync(weights(f), 1000)),
      "adapter_model.safetensors: header claims",
      "truncated?",
    ],
    "whose weights are integers": [
      () => changed(common, (f) => lie(weights(f), (s) => s.replaceAll('"F32"', '"I32"'))),
      `${first} is I32, weights are F32, F16, BF16 or F64`,
    ],
  };
  test.each(Object.entries(cases))("%s is refused by every command that takes one", async (_, [make, ...says]) => {
    const folder = make();
    await refused(
      [
        ...[generate, score, evaluate].map((line) => line(micro, "--adapter", folder)),
        serve(micro, "--adapter", `x=${folder}`),
      ],
      1,
      ...says,
    );
  });
});

describe("data to train on", () => {
  const row = '{"instruction": "a", "output": "b"}';
  const cases: Record<string, [content: string | Uint8Array, ...says: string[]]> = {
    "that is empty": ["", "the file is empty; it must hold at least one row"],
    "without rows": ["[]", "the file has no rows; it must hold at least one"],
    "with a row without a field": [
      `[${row},\n {"instruction": "a"}]`,
      'line 2: row 2: field "output" is missing; the row has the fields instruction',
    ],
    "with a row without fields": [`[${row},\n {}]`, 'line 2: row 2: field "instruction" is missing; the row has no'],
    "with a row that is no object": [`[${row},\n 5]`, "line 2: row 2 must be an object with the fields instruction"],
    "with broken JSON": [`[${row},\n\n {"instruction": a}]`, "line 3: row 2 is not valid JSON"],
    "with broken JSON Lines": [`${row}\n{"instruction": a}\n`, "line 2 is not valid JSON"],
    "that ends inside a row": [`[${row},\n {"instruction": "a`, "line 2: row 2 is cut short; the file ends inside it"],
    "that is gzip cut short": [Bun.gzipSync(Buffer.from(`[${row}]`)).subarray(0, 30), "the gzip stream is damaged"],
    "that is not text": [Uint8Array.of(0x5b, 0xff, 0xfe), "the text is not UTF-8"],
  };
  test.each(Object.entries(cases))("%s is refused, the file and the line named", async (_, [content, ...says]) => {
    const path = file(content);
    await refused([train(micro, "--data_path", path)], 1, `${path}: `, ...says);
  });

  test("that is not there, a folder, or all of it validation is refused", async () => {
    const nowhere = join(scratch, "nowhere.json");
    await refused([train(micro, "--data_path", nowhere)], 1, `${nowhere}: no such file`);
    await refused([train(micro, "--data_path", scratch)], 1, `${scratch}: is a folder; give a .json or .jsonl file`);
    await refused([train(micro, "--val_set_size", "100")], 1, "val_set_size 100 leaves nothing to train on");
  });

  test("whose prompts alone fill what fits is refused", () =>
    refused([train(micro, "--cutoff_len", "3", "--train_on_inputs", "false")], 1, "every prompt fills cutoff_len 3"));
});

describe("prompts and texts", () => {
  const cases: Record<string, [content: string, ...says: string[]]> = {
    "an empty file": ["", "the file is empty; it must hold at least one row"],
    "an empty list": ["[]", "the list is empty; it must hold at least one entry"],
    "an entry of another kind": ['"x"\n{"prompt": 5}\n', 'line 2: entry 2 must be a string, {"prompt"}'],
    "broken JSON Lines": ['"x"\n{"text": "a"\n', "line 2 is not valid JSON"],
    "a broken list": ['[\n "x",\n {"text": a}]', "line 3: row 2 is not valid JSON"],
    "no ids": ['[{"ids": []}]', "line 1: entry 1 is empty"],
    "unknown ids": ['[{"ids": [1, 2]},\n {"ids": [1, 512]}]', "line 2: entry 2 has the id 512, the vocabulary has 512"],
    "a text that is longer than the model": [
      JSON.stringify(["Tom", "Tom ".repeat(400)]),
      "line 1: entry 2 has 402 tokens",
      "the model holds 256: shorten it",
    ],
  };
  test.each(Object.entries(cases))(
    "%s: refused by generate and score, the line named",
    async (_, [content, ...says]) => {
      const path = file(content);
      await refused(
        ["generate", "score"].map((command) => [command, "--model", micro, "--file", path]),
        1,
        `${path}: `,
        ...says,
      );
    },
  );

  test("more new tokens than there is room for are refused with the room", () =>
    refused(
      [generate(micro, "--max-new-tokens", "300")],
      1,
      "the prompt has 2 tokens and asks for 300 more; the model holds 256: shorten it, or ask for at most 254",
    ));

  test("rows of a task that are too long or lack the answer are named", async () => {
    const rowsAt = (text: string) => ["--data-dir", join(file(text, "micro-math-test.json"), "..")];
    const row = (instruction: string) => ({ instruction, output: "", answer: "1" });
    // A long prompt loses its beginning, but the new tokens must have room.
    await refused(
      [evaluate(micro, ...rowsAt(JSON.stringify([row("a")])), "--max-new-tokens", "256")],
      1,
      "micro-math-test.json: row 1 has ",
      " tokens and asks for 256 more; the model holds 256",
    );
    await refused(
      [evaluate(micro, ...rowsAt('[{"instruction": "a"}]'))],
      1,
      'line 1: row 1: field "answer" is missing',
    );
    await refused([evaluate(micro, ...rowsAt(""))], 1, "micro-math-test.json: the file is empty");
    await refused(
      [["eval", "--model", micro, "--tasks", "gsm8k"]],
      1,
      "there is no test set; looked for gsm8k/test.json",
      "--data-dir",
    );
  });
});

describe("a wrong command line exits 2", () => {
  const cases: [line: string[], ...says: string[]][] = [
    [train(micro, "--lerning_rate", "1"), "unknown option --lerning-rate; did you mean --learning-rate?"],
    [["generate", "--model", micro, "--promt", "a"], "unknown option --promt; did you mean --prompt?"],
    [["score", "--modle", micro], "unknown option --modle; did you mean --model?"],
    [evaluate(micro, "--limt", "1"), "unknown option --limt; did you mean --limit?"],
    [["serve", "--model", micro, "--prot", "0"], "unknown option --prot; did you mean --port?"],
    [
      ["eval", "--model", micro, "--tasks", "micro-maths"],
      '--tasks: unknown task "micro-maths"; did you mean micro-math?',
    ],
    [
      train(micro, "--prompt_template", "papr"),
      '--prompt-template: "papr" is unknown; did you mean paper? Available: a',
    ],
    [
      train(micro, "--adapter_name", "prefix-tunning"),
      '--adapter-name: "prefix-tunning" is unknown; did you mean prefix-tuning? Available: ',
    ],
    [train(micro, "--lr_scheduler_type", "linaer"), '--lr-scheduler-type: "linaer" is unknown; did you mean linear?'],
    [train(micro, "--lora_r", "0"), "--lora-r: must be at least 1, not 0"],
    [train(micro, "--lora_dropout", "1.5"), "--lora-dropout: Too big: expected number to be <1, not 1.5"],
    [train(micro, "--micro_batch_size", "8"), "--micro-batch-size 8 is over --batch-size 4"],
    [["generate", "--model", micro], "give one of --prompt, --prompt-ids and --file"],
    [["eval", "--model", micro], "--tasks is required"],
    [serve(micro, "--adapter", "x"), '--adapter is NAME=DIR, not "x"'],
    [["serve", "--model", micro, "--port", "99999"], "--port: Too big: expected number to be <=65535, not 99999"],
    ...Object.values(onModel).map((line): [string[], string] => [
      line(micro, "--dtype", "float16"),
      '--dtype: "float16" is unknown. Available: auto, f32, f16, bf16',
    ]),
  ];
  test.each(cases.map(([line, ...says]): [string, string[], string[]] => [says[0]!, line, says]))(
    "%s",
    (_, line, says) => refused([line], 2, ...says),
  );

  test("a config file is held to the same", async () => {
    const config = (text: string) => ["train", "--config", file(text, "run.yaml")];
    await refused([config("base_modle: x\n")], 2, "run.yaml: unknown option base_modle; did you mean --base-model?");
    await refused([config("lora_r: 0\n")], 2, "--lora-r: must be at least 1, not 0");
    await refused([["train", "--config", join(scratch, "no.yaml")]], 1, "no.yaml: cannot be read (ENOENT");
  });

  test("a target module that the model does not have is answered with near names", () =>
    refused(
      [train(micro, "--target_modules", '["q_porj"]')],
      1,
      'target module "q_porj" is no module of this model; did you mean q_proj or k_proj or v_proj? Available: embed_tokens, q_proj',
    ));
});

describe("where results go", () => {
  test("an output folder that is a file, or leads through one, is refused before any work", async () => {
    const taken = file("mine", "taken");
    const lines = (path: string) => [
      train(micro, "--output_dir", path),
      evaluate(micro, "--limit", "1", "--output", path),
      ["serve", "--model", micro, "--port", "0", "--data-dir", path],
    ];
    await refused(lines(taken), 1, `${taken}: is a file, not a folder; choose another folder`);
    await refused(lines(join(taken, "x")), 1, `${join(taken, "x")}: leads through a file; choose another folder`);
    expect(readFileSync(taken, "utf8")).toBe("mine");
  });

  test("a port in use is named", async () => {
    const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    try {
      await refused(
        [serve(micro, "--port", String(other.port))],
        1,
        `127.0.0.1:${other.port} cannot be listened on`,
        "choose another --port",
      );
    } finally {
      await other.stop(true);
    }
  });

  test("--debug shows the stack of the same error", async () => {
    const { code, err } = await graft(...generate(join(scratch, "nowhere")), "--debug");
    expect(code).toBe(1);
    expect(err).toMatch(/nowhere: no such folder[\s\S]*\n\s+at /);
  });
});
