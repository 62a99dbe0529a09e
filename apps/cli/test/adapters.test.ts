/** graft adapters as a person calls it: listing, showing, converting, comparing and combining folders. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { adapterVersion, createAdapter, openBaseFolder, saveAdapter } from "@graft/adapters";
import { openSafetensors } from "@graft/core/io";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, micro, root, succeed } from "./process.ts";

const scratch = mkdtempSync(join(tmpdir(), "adapters-"));
const common = join(root, "models/graft-micro-llama-common");
const at = (name: string) => join(scratch, name);
beforeAll(async () => {
  const base = openBaseFolder(micro);
  const make = async (name: string, config: { peft_type: string; [field: string]: unknown }) => {
    const adapter = await createAdapter({ base_model_name_or_path: micro, ...config }, base, 4);
    for (const [n, values] of [...adapter.values.values()].entries())
      for (let i = 0; i < values.length; i++) values[i] = values[i]! + 0.02 * Math.sin(i + 7 * n);
    await saveAdapter(at(name), adapter, base);
  };
  const two = { target_modules: ["q_proj", "v_proj"] };
  await make("tree/a", { peft_type: "LORA", r: 2, lora_alpha: 4, notes: "mine", ...two });
  await make("tree/deep/b", { peft_type: "LORA", r: 2, lora_alpha: 2, ...two });
  await make("tree/loha", { peft_type: "LOHA", r: 2, ...two });
  base.close();
  mkdirSync(at("tree/strange"));
  writeFileSync(join(at("tree/strange"), "adapter_config.json"), '{"peft_type": "LOHAA"}');
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const json = async (...args: string[]): Promise<Record<string, unknown>> =>
  JSON.parse((await succeed("adapters", ...args, "--json")).out) as Record<string, unknown>;
type Rows = Record<string, unknown>[];

test("ls finds adapters below folders, and one that cannot be read hides no other", async () => {
  const { adapters, problems } = await json("ls", at("tree"), common);
  expect((adapters as Rows).map(({ path, method }) => [path, method])).toEqual([
    [at("tree/a"), "lora"],
    [at("tree/deep/b"), "lora"],
    [at("tree/loha"), "loha"],
    [common, "lora"],
  ]);
  expect((adapters as Rows)[0]).toEqual({
    path: at("tree/a"),
    peft_type: "LORA",
    method: "lora",
    size: { r: 2, lora_alpha: 4 },
    targets: ["q_proj", "v_proj"],
    base: micro,
    // A [2, 128] and B [128, 2] of q_proj, B [64, 2] of v_proj, in four layers.
    parameters: 4 * (512 + 384),
    bytes: 16 * (512 + 384),
    version: adapterVersion(at("tree/a")),
  });
  expect(problems).toEqual([
    { path: at("tree/strange"), problem: expect.stringContaining('unknown peft_type "LOHAA"; did you mean LOHA?') },
  ]);
  const { out, err } = await succeed("adapters", "ls", at("tree"));
  expect(out.split("\n")[0]).toMatch(/^path +method +size +targets +base +parameters +bytes +version$/);
  expect(out).toContain("r 2, lora_alpha 4");
  expect(err).toContain('unknown peft_type "LOHAA"');
});

test("show tells what was written from defaults, what is not read, and how large each change is", async () => {
  const shown = await json("show", at("tree/a"), "--model", micro);
  expect(shown).toMatchObject({ method: "lora", unread: ["notes"], config: { r: 2, lora_dropout: 0, bias: "none" } });
  expect(Object.keys(shown.written as object)).not.toContain("lora_dropout");
  const tensors = shown.tensors as Rows;
  expect(tensors.length).toBe(16);
  expect(tensors[0]!.norm).toBeGreaterThan(0);
  const sites = shown.sites as { parameter: string; norm: number; relative: number }[];
  expect(sites.map(({ parameter }) => parameter)).toContain("model.layers.3.self_attn.v_proj.weight");
  for (const { norm, relative } of sites) expect(norm > 0 && relative > 0).toBe(true);
  const { out } = await succeed("adapters", "show", at("tree/a"));
  expect(out).toMatch(/\nlora_dropout +0 +default\n/);
  expect(out).toMatch(/\nnotes +"mine" +"mine" +not read\n/);
});

test("convert makes a LoRA with its error, and compare finds the same change in other tensors", async () => {
  const out = at("converted");
  const report = await json(
    "convert",
    "--model",
    micro,
    "--adapter",
    at("tree/loha"),
    "--rank",
    "4",
    "--output-dir",
    out,
  );
  // A LoHa of rank 2 changes a weight by rank 4 at the most.
  expect(report).toMatchObject({ output_dir: out });
  expect(report.relative_error).toBeLessThan(1e-4);
  expect((report.sites as Rows).map(({ rank }) => rank)).toEqual(Array(8).fill(4));
  const { config, tensors, deltas } = await json("compare", at("tree/loha"), out, "--model", micro);
  expect((config as Rows).find(({ field }) => field === "peft_type")).toEqual({
    field: "peft_type",
    a: "LOHA",
    b: "LORA",
  });
  expect(new Set((tensors as Rows).map(({ only }) => only))).toEqual(new Set(["a", "b"]));
  expect((deltas as Rows).length).toBe(8);
  for (const { relative, cosine } of deltas as { relative: number; cosine: number }[]) {
    expect(relative).toBeLessThan(1e-4);
    expect(cosine).toBeGreaterThan(0.999999);
  }
  const { config: none, tensors: equal } = await json("compare", at("tree/a"), at("tree/a"));
  expect(none).toEqual([]);
  for (const { relative } of equal as Rows) expect(relative).toBe(0);
});

test("combine writes the weighted sum; the base is the one that the adapters name", async () => {
  const [a, b] = [at("tree/a"), at("tree/deep/b")];
  const line = ["combine", "--adapter", `a=${a}`, "--adapter", `b=${b}`];
  const out = at("twice");
  // Half of a and half of a's equal is a: through the SVD other factors, the same change.
  const both = [
    "combine",
    "--adapter",
    `a=${a}`,
    "--adapter",
    `again=${a}`,
    "--weights",
    "0.5,0.5",
    "--output-dir",
    out,
  ];
  expect(await json(...both)).toMatchObject({
    output_dir: out,
    r: 2,
    lora_alpha: 2,
    target_modules: ["q_proj", "v_proj"],
  });
  const { deltas } = await json("compare", a, out, "--model", micro);
  for (const { relative } of deltas as { relative: number }[]) expect(relative).toBeLessThan(1e-5);
  const ties = await json(
    ...line,
    "--weights",
    "0.7,-0.3",
    "--combination-type",
    "ties",
    "--density",
    "0.5",
    "--output-dir",
    at("ties"),
  );
  expect(ties.r).toBe(2);
  expect(JSON.parse(readFileSync(join(at("ties"), "adapter_config.json"), "utf8"))).toMatchObject({
    peft_type: "LORA",
    base_model_name_or_path: micro,
  });

  const fails = async (args: string[], code: number, ...says: string[]) =>
    expectFailure(await graft("adapters", ...args), code, ...says);
  const to = ["--output-dir", at("never")];
  await fails([...line, "--weights", "1", ...to], 2, "--weights has 1 numbers for 2 adapters");
  await fails([...line, "--weights", "1,1", "--density", "-1", ...to], 2, "--density: Too small");
  await fails(
    [...line, "--weights", "1,1", "--combination-type", "tie", ...to],
    2,
    '"tie" is unknown; did you mean ties',
  );
  await fails([...line, "--weights", "1,1", "--svd-rank", "0", ...to], 2, "--svd-rank: must be at least 1, not 0");
  await fails([...line, "--weights", "1,1", "--combination-type", "ties", ...to], 1, "combine: ties needs density");
  await fails([...line, "--weights", "1,1", "--output-dir", a], 1, `${a}: is not empty`);
  await fails(["combine", "--adapter", a, "--weights", "1", ...to], 2, "--adapter is NAME=DIR, not");
  await fails(
    ["combine", "--adapter", `a=${a}`, "--adapter", `b=${common}`, "--weights", "1,1", ...to],
    2,
    "the adapters name different bases",
    "give --model if it is one",
  );
  await fails(
    ["combine", "--adapter", `a=${a}`, "--adapter", `b=${at("tree/loha")}`, "--weights", "1,1", ...to],
    1,
    'adapter "b": cannot be combined: loha is no product of two matrices; `graft adapters convert`',
  );
  await fails(["convert", "--model", micro, "--adapter", a, ...to], 2, "give --rank or --energy");
  await fails(["convert", "--model", micro, "--adapter", a, "--rank", "0", ...to], 2, "--rank: must be at least 1");
  await fails(["compare", a], 2, "give two adapter folders, not 1");
  await fails(["show", scratch], 1, "is no adapter folder, it has no adapter_config.json");
});

test("compose makes one adapter of several, which trains on from there: a fusion", async () => {
  const rows = join(root, "models/data/micro-math-train.json");
  const train = (out: string, ...args: string[]) =>
    succeed(
      ...["train", "--base-model", micro, "--data-path", rows, "--output-dir", out, "--prompt-template", "micro"],
      ...["--train-on-inputs", "False", "--batch-size", "4", "--micro-batch-size", "4", "--max-rows", "40"],
      ...["--val-set-size", "0", "--save-step", "0", "--max-steps", "3", "--warmup-steps", "0", "--json", ...args],
    );
  const block = ["--adapter-name", "pfeiffer", "--reduction-factor", "16"];
  await train(at("one"), ...block, "--seed", "1");
  await train(at("two"), ...block, "--seed", "2", "--learning-rate", "1e-2");
  const parts = ["--adapter", `one=${at("one")}`, "--adapter", `two=${at("two")}`];
  const fused = await json("compose", "--model", micro, "--method", "fusion", ...parts, "--output-dir", at("fused"));
  expect(fused.method).toBe("fusion");
  const { out } = await train(at("trained"), "--from-adapter", at("fused"));
  const result = JSON.parse(out) as { trainable_parameters: number; losses: number[] };
  // Q and K with biases and V around four MLPs of width 128.
  expect(result.trainable_parameters).toBe(4 * (3 * 128 * 128 + 2 * 128));
  const [before, after] = [at("fused"), at("trained")].map((path) =>
    openSafetensors(join(path, "adapter_model.safetensors")),
  );
  for (const name of before!.tensors.keys()) {
    const isSame = Buffer.from(before!.read(name)).equals(after!.read(name));
    expect({ name, isSame }).toEqual({ name, isSame: name.startsWith("adapters.") });
  }
  expectFailure(
    await graft(
      "train",
      "--base-model",
      micro,
      "--data-path",
      rows,
      "--output-dir",
      at("x"),
      "--from-adapter",
      at("none"),
    ),
    1,
    at("none"),
    "no such adapter folder",
  );
  await json("compose", "--model", micro, "--method", "stack", ...parts, "--output-dir", at("frozen"));
  expectFailure(
    await graft(
      "train",
      "--val-set-size",
      "0",
      "--base-model",
      micro,
      "--data-path",
      rows,
      "--output-dir",
      at("z"),
      "--from-adapter",
      at("frozen"),
    ),
    1,
    at("frozen"),
    "nothing in it is trainable",
  );
  const unknown = ["adapters", "compose", "--model", micro, "--method", "stack", ...parts, "--output-dir", at("y")];
  expectFailure(await graft(...unknown, "--trainable", "on"), 1, 'trainable names "on"', "one");
  expectFailure(await graft(...unknown.with(5, "stak")), 2, "stak", "stack");
}, 120_000);
