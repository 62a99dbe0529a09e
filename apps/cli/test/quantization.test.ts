/** Quantised bases as a person uses them, on the embedded model. */
import { describe, expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { existsSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stories } from "../../../scripts/micro/corpus.ts";
import { expectFailure, graft, mathRows, micro, succeed } from "./process.ts";

const scratch = mkdtempSync(join(tmpdir(), "quantisation-"));
const texts = join(scratch, "texts.json");
writeFileSync(texts, JSON.stringify([...stories(new Random(20_260), 40)]));

interface Scored {
  readonly items: readonly { readonly logprobs: readonly number[] }[];
}
async function losses(...args: readonly string[]): Promise<number[]> {
  const { out } = await succeed("score", "--file", texts, "--json", ...args);
  return (JSON.parse(out) as Scored).items.flatMap(({ logprobs }) => logprobs.map((x) => -x));
}
const plain = losses("--model", micro, "--dtype", "f32");
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * Nats per token over 660 tokens. A weight of int8 is off by at most half of 1/127 of its row's largest, about 0.7 % of a typical weight, one of nf4 by about 9 %; errors are
 * independent and the loss is smooth, so its mean changes in second order and single tokens in first. Measured: 1e-5 and 6e-4 (int8), 2e-3 and 9e-3 (nf4); allowed is five times that
 * for the mean (at least 1e-4) and three times for tokens.
 */
const bounds = {
  int8: { flag: "--load_8bit", loss: 1e-4, token: 2e-3, bytes: 0.6 },
  nf4: { flag: "--load-4bit", loss: 1e-2, token: 3e-2, bytes: 0.35 },
} as const;

describe.each(Object.keys(bounds) as (keyof typeof bounds)[])("%s", (method) => {
  const { flag, loss, token, bytes } = bounds[method];
  const folder = join(scratch, method);

  test("a quantised folder gives what quantising at load gives, near the plain model, in a part of its bytes", async () => {
    const { out } = await succeed(
      "quantize",
      "--model",
      micro,
      "--output-dir",
      folder,
      "--quantization",
      method,
      "--json",
    );
    expect(JSON.parse(out)).toEqual({ output_dir: folder });
    expect(readdirSync(folder).toSorted()).toEqual(readdirSync(micro).toSorted());
    const size = (from: string) => statSync(join(from, "model.safetensors")).size;
    expect(size(folder) / size(micro)).toBeLessThan(bytes); // the micro model's f16, its embedding included
    const fromFolder = await losses("--model", folder);
    expect(await losses("--model", micro, "--quantization", method)).toEqual(fromFolder);
    const before = await plain;
    expect(Math.abs(mean(fromFolder) - mean(before))).toBeLessThan(loss);
    expect(mean(fromFolder.map((x, i) => Math.abs(x - before[i]!)))).toBeLessThan(token);

    const prompt = ["--prompt", "Tom has 3 apples.", "--max-new-tokens", "12", "--json"];
    const generated = await succeed("generate", "--model", folder, ...prompt);
    expect(await succeed("generate", "--model", micro, "--quantization", method, ...prompt)).toMatchObject({
      out: generated.out,
    });
  });

  test(`train ${flag} learns, and its adapter generates and is measured on the quantised base`, async () => {
    const outputDir = join(scratch, `${method}-lora`);
    const { out } = await succeed(
      "train",
      "--base-model",
      micro,
      "--data-path",
      mathRows,
      "--output-dir",
      outputDir,
      flag,
      "--max-steps",
      "3",
      "--batch-size",
      "4",
      "--micro-batch-size",
      "4",
      "--max-rows",
      "12",
      "--val-set-size",
      "0",
      "--warmup-steps",
      "0",
      "--learning-rate",
      "5e-3",
      "--prompt-template",
      "micro",
      "--target-modules",
      "all-linear",
      "--lora-dropout",
      "0",
      "--json",
    );
    const { steps, losses: trained } = JSON.parse(out) as { steps: number; losses: number[] };
    expect(steps).toBe(3);
    expect(trained.at(-1)!).toBeLessThan(trained[0]!);
    expect(existsSync(join(outputDir, "adapter_model.safetensors"))).toBe(true);
    const run = ["--adapter", outputDir, "--model", micro, "--quantization", method];
    const generated = await succeed("generate", ...run, "--prompt", "Q: 2 + 2?\nA:", "--max-new-tokens", "4", "--json");
    expect((JSON.parse(generated.out) as { outputs: unknown[] }).outputs).toHaveLength(1);
    const report = await succeed("eval", ...run, "--tasks", "micro-common", "--limit", "2", "--json");
    expect(report.out).toContain(`"quantization": "${method}"`);
  });
});

test("what the options and folders say must agree", async () => {
  const run = ["--model", micro, "--prompt", "x"];
  expectFailure(
    await graft("generate", ...run, "--quantization", "int4"),
    2,
    '--quantization: "int4" is unknown',
    "nf4",
  );
  expectFailure(
    await graft("generate", ...run, "--quantization-skip-modules", "o_proj"),
    2,
    "--quantization-skip-modules goes with --quantization int8 or nf4",
  );
  expectFailure(
    await graft("generate", ...run, "--quantization", "nf4", "--quantization-skip-modules", "o_porj"),
    1,
    'module to skip "o_porj" is no linear layer of this model; did you mean o_proj',
  );
  const train = ["train", "--base-model", micro, "--data-path", mathRows, "--output-dir", join(scratch, "none")];
  expectFailure(await graft(...train, "--load-8bit", "--load-4bit"), 2, "say different things; give one of them");
  expectFailure(
    await graft("quantize", "--model", micro, "--output-dir", micro, "--quantization", "nf4"),
    1,
    "is not empty",
  );
  const foreign = join(scratch, "foreign");
  await succeed("quantize", "--model", micro, "--output-dir", foreign, "--quantization", "nf4");
  const config = JSON.parse(readFileSync(join(foreign, "config.json"), "utf8")) as object;
  writeFileSync(
    join(foreign, "config.json"),
    JSON.stringify({ ...config, quantization_config: { quant_method: "bitsandbytes", load_in_4bit: true } }),
  );
  expectFailure(
    await graft("generate", "--model", foreign, "--prompt", "x"),
    1,
    'stored in the format of "bitsandbytes", which is not read',
    "graft quantize",
  );
});
