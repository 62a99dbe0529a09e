/** plan as a person calls it: a config.json and no weights. */
import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, micro, root, succeed } from "./process.ts";

const folder = mkdtempSync(join(tmpdir(), "plan-"));
function write(name: string, json: object): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(json));
  return path;
}
const llama7b = write("llama-7b.json", {
  model_type: "llama",
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 11_008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  torch_dtype: "float16",
});

interface Result {
  parameters: number;
  trainable: number;
  jobs: Record<string, { bytes: Record<string, number>; total: number; problems: string[] }>;
  problems: string[];
}
const plan = async (...args: string[]): Promise<Result> =>
  JSON.parse((await succeed("plan", "--json", ...args)).out) as Result;

test("a 7B llama in f16: weights to the byte, LoRA of rank 8 on q and v, less with checkpointing", async () => {
  const { parameters, trainable, jobs } = await plan("--model", llama7b);
  expect(parameters).toBe(6_738_415_616);
  expect(trainable).toBe(32 * 2 * 8 * 2 * 4096);
  const { training, serving, "training, gradient checkpointing": checkpointed } = jobs;
  // Norm weights are f32 on the device.
  expect(training!.bytes.weights).toBe(2 * parameters + 2 * 65 * 4096);
  expect(training!.bytes.optimizer).toBe(3 * 4 * trainable);
  expect(checkpointed!.bytes.arena).toBeLessThan(training!.bytes.arena! / 4);
  expect(serving!.bytes.cache).toBeGreaterThan(0);
  const f32 = await plan("--model", llama7b, "--dtype", "f32");
  expect(f32.jobs.training!.bytes.weights).toBe(4 * parameters);
});

test("what does not fit is named, with exit code 1", async () => {
  const memory = await graft("plan", "--model", llama7b, "--memory", "16GiB");
  expect(memory.code).toBe(1);
  expect(memory.out).toMatch(/does not fit: 1\d\.\d\d GiB of memory are needed, there are 16\.00 GiB/);
  const buffer = await graft("plan", "--model", llama7b, "--max-buffer-size", "200MiB");
  expect(buffer.code).toBe(1);
  expect(buffer.out).toContain(
    "does not fit: model.embed_tokens.weight [32000,4096] takes 262144000 bytes, one buffer holds 209715200",
  );
  // GPT-J's output layer has a bias: its logits are one value.
  const gptj = write("gptj.json", {
    model_type: "gptj",
    vocab_size: 50_400,
    n_embd: 64,
    n_layer: 1,
    n_head: 4,
    rotary_dim: 16,
  });
  const lora = write("lora.json", { peft_type: "LORA", target_modules: ["q_proj"] });
  const binding = await graft("plan", "--model", gptj, "--adapter", lora, "--max-binding-size", "100MiB");
  expect(binding.code).toBe(1);
  expect(binding.out).toMatch(
    /does not fit: \w+: input \d \[1024,50400\] has 206438400 bytes, one binding of this device holds 104857600/,
  );
});

test("an adapter's own config counts; a folder is a model as well", async () => {
  const adapter = join(root, "models/graft-micro-llama-common");
  const own = await plan("--model", micro, "--adapter", adapter);
  const plain = await plan("--model", micro);
  expect(own.trainable).toBeGreaterThan(plain.trainable);
});

test("a model that is quantised in its files is planned so, and as nothing else", async () => {
  const quantised = join(folder, "nf4");
  await succeed("quantize", "--model", micro, "--quantization", "nf4", "--output-dir", quantised);
  const { jobs } = await plan("--model", quantised);
  const atLoad = await plan("--model", micro, "--quantization", "nf4");
  expect(jobs).toEqual(atLoad.jobs);
  const other = await graft("plan", "--model", quantised, "--quantization", "int8");
  expectFailure(other, 1, "nf4 in the files", "--quantization int8");
});

test("bad input", async () => {
  expectFailure(
    await graft("plan", "--model", write("bad.json", { model_type: "lama" })),
    1,
    "bad.json",
    "lama",
    "llama",
  );
  expectFailure(await graft("plan", "--model", llama7b, "--memory", "many"), 2, "memory", "24GiB");
  const wrong = write("adapter.json", { peft_type: "LORA", r: 0 });
  expectFailure(await graft("plan", "--model", llama7b, "--adapter", wrong), 1, "adapter.json", "r must be at least 1");
});
