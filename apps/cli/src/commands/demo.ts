import { loadBaseModel } from "@graft/core/models";
import { loadTokenizer } from "@graft/core/text";
import { findPromptTemplate, readRows } from "@graft/core/data";
import { primaryFigure, runTask, taskFor } from "@graft/eval";
import { openCommandDevice } from "../device.ts";
import { startServer } from "@graft/server";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { microData, microModels, microRecipe } from "../micro.ts";
import { loadLanguageModel } from "../load-model.ts";
import { lossPlot } from "../train/progress.ts";
import { runTraining } from "../train/run.ts";
import { tuning } from "../tuning.ts";

export default defineCommand({
  name: "demo",
  summary: "train, measure, serve and swap an adapter on the embedded model, in under three minutes",
  examples: ["graft demo", "graft demo --steps 60 --problems 40"],
  options: z.object({
    steps: z.int().min(1).default(300).describe("optimizer steps of the adapter"),
    problems: z.int().min(1).max(200).default(100).describe("held-out problems to measure on"),
    keep: z.string().optional().describe("keep the trained adapter in this folder"),
    json: z.boolean().default(false).describe("print the figures as JSON at the end"),
  }),
  async run({ steps, problems, keep, json }, { print, log, signal }) {
    const started = performance.now();
    const folder = join(microModels, "graft-micro-llama");
    const data = microData;
    const common = join(microModels, "graft-micro-llama-common");
    const scratch = keep ?? mkdtempSync(join(tmpdir(), "graft-demo-"));
    const say = (line: string): void => (json ? log(line) : print(line));
    try {
      say(`1. The base: ${folder}, a LLaMA that has read small stories and never seen a question.`);
      const before = await measure(folder, undefined, problems, data, signal);
      say(`   It answers ${percent(before.acc)} of ${before.count} held-out word problems.`);

      say("2. A LoRA learns to answer, on other problems than those.");
      const result = await trainAdapter(folder, join(data, "micro-math-train.json"), scratch, steps, signal, log);
      say(lossPlot(result.losses));
      say(
        `   ${result.trainableParameters} trainable parameters, ${result.steps} steps, ${result.tokensPerSecond.toFixed(0)} tokens/s.`,
      );
      if (result.reason === "stopped") return 130;

      say("3. The same base with the adapter:");
      const after = await measure(folder, scratch, problems, data, signal);
      say(`   ${percent(after.acc)} of the same problems (${points(after.acc - before.acc)}).`);

      say("4. Both are served at once over HTTP.");
      const served = await serveAndSwap(folder, scratch, common, data, say, log);
      const seconds = (performance.now() - started) / 1000;
      say(`Done in ${seconds.toFixed(0)} s. Next:
   ./graft train --base-model models/graft-micro-llama --data-path models/data/micro-math-train.json --output-dir out --prompt-template micro
   ./graft eval --model models/graft-micro-llama --adapter out --tasks micro-math
   ./graft serve --model models/graft-micro-llama --adapter math=out
   ./graft doctor                 what this machine has, and what would make it faster`);
      if (json)
        print(
          JSON.stringify({
            before: before.acc,
            after: after.acc,
            steps: result.steps,
            tokens_per_second: result.tokensPerSecond,
            ...served,
            seconds,
          }),
        );
      return 0;
    } finally {
      if (keep === undefined) rmSync(scratch, { recursive: true, force: true });
    }
  },
});

const percent = (x: number) => `${(100 * x).toFixed(0)} %`;
const points = (x: number) => `${x >= 0 ? "+" : ""}${(100 * x).toFixed(0)} points`;

async function measure(
  model: string,
  adapter: string | undefined,
  problems: number,
  data: string,
  signal: AbortSignal,
) {
  const language = await loadLanguageModel({ model, adapter, maxSequences: 32 });
  try {
    const result = await runTask(taskFor("micro-math"), language, { dataDirs: [data], limit: problems, signal });
    return { acc: primaryFigure(result).value, count: result.count };
  } finally {
    await language.close();
  }
}

/** The recipe of the demo, and of the adapters that come with Graft. */
export async function trainAdapter(
  folder: string,
  dataPath: string,
  outputDir: string,
  steps: number,
  signal: AbortSignal,
  log: (line: string) => void,
) {
  const device = await openCommandDevice();
  const model = loadBaseModel(device, folder);
  try {
    return await runTraining(
      model,
      loadTokenizer(folder),
      {
        ...microRecipe,
        dataPath,
        outputDir,
        adapterConfig: {
          peft_type: "LORA",
          task_type: "CAUSAL_LM",
          base_model_name_or_path: "graft-micro-llama",
          inference_mode: true,
          r: 8,
          lora_alpha: 16,
          lora_dropout: 0,
          target_modules: "all-linear",
          bias: "none",
        },
        maxSteps: steps,
        learningRate: 5e-3,
      },
      { signal, log, everySteps: 25 },
    );
  } finally {
    model.destroy();
    await device.close();
  }
}

async function serveAndSwap(
  model: string,
  math: string,
  common: string,
  data: string,
  say: (line: string) => void,
  log: (line: string) => void,
) {
  const server = await startServer({
    model,
    dtype: "auto",
    ...(tuning ? { tuning } : {}),
    adapters: { math },
    adapterRoots: [dirname(common)],
    servedModelName: "base",
    host: "127.0.0.1",
    port: 0,
    dataDir: undefined,
    apiKey: undefined,
    log,
  });
  const post = (path: string, body: object) =>
    fetch(`${server.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  const template = findPromptTemplate("micro");
  const ask = async (name: string, row: { instruction: string; input: string }): Promise<string> => {
    const response = await post("/v1/completions", {
      model: name,
      prompt: template.prompt(row),
      max_tokens: 20,
      temperature: 0,
      stop: ["\n"],
    });
    const { choices } = (await response.json()) as { choices: { text: string }[] };
    return choices[0]!.text.trim();
  };
  try {
    const [mathRow] = await readRows(join(data, "micro-math-test.json"));
    const [commonRow] = await readRows(join(data, "micro-common-test.json"));
    say(`   ${server.url}  question: ${mathRow!.instruction}`);
    const [fromBase, fromMath] = await Promise.all([ask("base", mathRow!), ask("math", mathRow!)]);
    say(`   model "base": ${fromBase}`);
    say(`   model "math": ${fromMath}`);
    say("5. A second adapter is swapped in while a stream of the first one runs.");
    const stream = await post("/v1/completions", {
      model: "math",
      prompt: template.prompt(mathRow!),
      max_tokens: 40,
      temperature: 0,
      stream: true,
    });
    const streamed = stream.text();
    const loaded = await post("/v1/load_lora_adapter", { lora_name: "common", lora_path: common });
    if (!loaded.ok) throw new Error(`loading the second adapter failed: ${await loaded.text()}`);
    const fromCommon = await ask("common", commonRow!);
    await post("/v1/unload_lora_adapter", { lora_name: "common" });
    const chunks = (await streamed).split("\n").filter((line) => line.startsWith("data: "));
    const isWhole = chunks.at(-1) === "data: [DONE]";
    say(`   question: ${commonRow!.instruction}`);
    say(`   model "common": ${fromCommon}`);
    say(`   the stream that ran meanwhile ${isWhole ? `ended whole, ${chunks.length - 1} pieces` : "was cut"}`);
    if (!isWhole) throw new Error("the stream was cut while an adapter was swapped");
    return { base_answer: fromBase, math_answer: fromMath, common_answer: fromCommon };
  } finally {
    await server.close();
  }
}
