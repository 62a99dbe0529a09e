/** Training from files to files as a server does it: in turns with other work, killed and gone on with, on every format. */
import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import { readRows } from "@graft/core/data";
import { ConfigError } from "@graft/core/errors";
import { Generator } from "@graft/core/generate";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { loadTokenizer } from "@graft/core/text";
import type { Turn } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { baseOf } from "../src/index.ts";
import {
  type JobRequest,
  jobOptions,
  readTrainingRecord,
  resolveJob,
  trainRun,
  type TrainRunEvent,
  type TrainRunOptions,
  type TrainTools,
} from "../src/train/index.ts";

const models = resolve(import.meta.dir, "../../../models");
const micro = join(models, "graft-micro-llama");
const tokenizer = loadTokenizer(micro);
const scratch = mkdtempSync(join(tmpdir(), "train-run-"));
const place = (name: string) => join(scratch, name);
const [instructions, chats, completions] = ["instructions.json", "chats.jsonl", "completions.jsonl"].map(place) as [
  string,
  string,
  string,
];
let device: Device;
let model: BaseModel;
beforeAll(async () => {
  const rows = (await readRows(join(models, "data/micro-math-train.json"))).slice(0, 16);
  const lines = (values: readonly object[]) => values.map((value) => `${JSON.stringify(value)}\n`).join("");
  writeFileSync(instructions, JSON.stringify(rows));
  writeFileSync(
    chats,
    lines(
      rows.map(({ instruction, output }) => ({
        messages: [
          { role: "user", content: instruction },
          { role: "assistant", content: output },
        ],
      })),
    ),
  );
  writeFileSync(
    completions,
    lines(rows.map(({ instruction, output }) => ({ prompt: `${instruction}\n`, completion: output }))),
  );
  device = await openDevice();
  model = loadBaseModel(device, micro);
});
afterAll(async () => {
  model.destroy();
  await device.close();
  rmSync(scratch, { recursive: true });
});

/** Eight steps with dropout, accumulation, validation and three checkpoints. */
const request: JobRequest = {
  hyperparameters: {
    ...{ n_epochs: 2, batch_size: 4, micro_batch_size: 2, learning_rate: 3e-3, warmup_steps: 1 },
    ...{ save_steps: 2, eval_steps: 3, prompt_template: "micro", cutoff_len: 64 },
  },
  adapter: { name: "lora", r: 4, lora_dropout: 0.1, target_modules: ["q_proj", "v_proj"], bias: "lora_only" },
  seed: 3,
};
function job(name: string, changes: Partial<TrainRunOptions> = {}): TrainRunOptions {
  const data = { format: "instruction", rows: 16 } as const;
  const spec = resolveJob(request, { data, base: baseOf(model), modelPath: micro });
  return {
    ...jobOptions(JSON.parse(JSON.stringify(spec)), {
      dataPath: instructions,
      validationPath: completions,
      outputDir: place(name),
    }),
    ...changes,
  };
}
/** Every event; `tell` may throw, which is as good as a kill. */
async function run(
  options: TrainRunOptions,
  tools: Partial<TrainTools> & { readonly tell?: (event: TrainRunEvent) => void } = {},
) {
  const events: TrainRunEvent[] = [];
  const onEvent = (event: TrainRunEvent) => {
    events.push(event);
    tools.tell?.(event);
  };
  const result = await trainRun(model, tokenizer, options, {
    signal: new AbortController().signal,
    now: () => 0,
    ...tools,
    onEvent,
  });
  return { ...result, events };
}
const kept = ["adapter_model.safetensors", "adapter_config.json", "training.json", "metrics.jsonl"];
const files = (name: string) =>
  Object.fromEntries(kept.map((file) => [file, readFileSync(join(place(name), file), "latin1")]));
const checkpoints = (name: string) =>
  readdirSync(place(name))
    .filter((file) => file.startsWith("checkpoint-"))
    .toSorted();

test("its events say all that happened, and are plain data", async () => {
  const { events, losses } = await run(job("straight"));
  expect(losses.length).toBe(8);
  const said = events
    .filter(({ type }) => type !== "note")
    .map((event) => (event.type === "end" ? "end" : `${event.type} ${"step" in event ? event.step : ""}`));
  expect(said).toEqual([
    ...["step 1", "step 2", "checkpoint 2", "step 3", "eval 3", "step 4", "checkpoint 4"],
    ...["step 5", "step 6", "eval 6", "checkpoint 6", "step 7", "step 8", "eval 8", "end"],
  ]);
  expect(structuredClone(events)).toEqual(events);
  expect(events.find(({ type }) => type === "checkpoint")).toEqual({
    type: "checkpoint",
    step: 2,
    path: join(place("straight"), "checkpoint-2"),
  });
  expect(events.at(-1)).toEqual({ type: "end", reason: "finished", steps: 8, path: place("straight") });
  expect(readTrainingRecord(place("straight"))).toMatchObject({
    format: "instruction",
    prompt_template: "micro",
    steps: 8,
    train_on_inputs: false,
  });
});

test("killed at any event and called again, it ends with the files of a run that was never killed", async () => {
  const whole = files("straight");
  // After the first note: step 1, checkpoint 2, step 3, eval 3, checkpoint 4, eval 8, end.
  for (const [at, type] of [
    [1, "step"],
    [3, "checkpoint"],
    [4, "step"],
    [5, "eval"],
    [7, "checkpoint"],
    [13, "eval"],
    [14, "end"],
  ] as const) {
    const name = `killed-${at}`;
    let told = 0;
    const tell = () => {
      if (told++ === at) throw new Error(`killed at ${type}`);
    };
    await expect(run(job(name), { tell })).rejects.toThrow(`killed at ${type}`);
    const again = await run(job(name));
    expect(again.reason).toBe("finished");
    expect({ ...files(name), kind: type }).toEqual({ ...whole, kind: type });
    expect(checkpoints(name)).toEqual(checkpoints("straight"));
  }
  expect(device.liveBuffers).toBe(model.weights.size);
}, 240_000);

test("with decoding between its turns both give what they give alone, and it touches the device in its turns alone", async () => {
  const generator = new Generator(model, { maxSequences: 2 });
  const prompt = tokenizer.encode("Once upon a time", { addSpecialTokens: true });
  const expected = [...(await generator.nextLogits(prompt, undefined))];
  const before = device.liveBuffers;
  let owner: "nobody" | "training" | "decoding" = "nobody";
  const outside: string[] = [];
  const createBuffer = device.createBuffer.bind(device);
  const watched = spyOn(device, "createBuffer").mockImplementation((...given) => {
    if (owner === "nobody") outside.push(given[1]);
    return createBuffer(...given);
  });
  let turns = 0;
  const turn: Turn = async (work) => {
    expect(owner).toBe("nobody");
    try {
      if (turns++ % 4 === 0) {
        owner = "decoding";
        expect([...(await generator.nextLogits(prompt, undefined))]).toEqual(expected);
      }
      owner = "training";
      return await work();
    } finally {
      owner = "nobody";
    }
  };
  try {
    await run(job("turns"), { turn });
  } finally {
    watched.mockRestore();
  }
  expect(outside).toEqual([]);
  expect(turns).toBeGreaterThan(8 * 3);
  expect(device.liveBuffers).toBe(before);
  expect(files("turns")).toEqual(files("straight"));
  await generator.destroy();
});

test("a stop saves a checkpoint, which is told before the end, and goes on from there", async () => {
  const controller = new AbortController();
  const tell = (event: TrainRunEvent) => {
    if (event.type === "step" && event.step === 5) controller.abort();
  };
  const { events, reason } = await run(job("stopped"), { signal: controller.signal, tell });
  expect(reason).toBe("stopped");
  expect(events.slice(-2).map(({ type }) => type)).toEqual(["checkpoint", "end"]);
  expect(events.at(-1)).toMatchObject({ reason: "stopped", steps: 5 });
  await run(job("stopped"));
  expect(files("stopped")).toEqual(files("straight"));
});

test("chats and completions train: what is learned is the answer, and the record says of what", async () => {
  for (const [format, dataPath] of [
    ["chat", chats],
    ["completion", completions],
  ] as const) {
    const { losses } = await run(
      job(format, { dataPath, trainOnInputs: undefined, epochs: 8, schedule: "constant", learningRate: 1e-2 }),
    );
    const mean = (part: readonly number[]) => part.reduce((a, b) => a + b, 0) / part.length;
    expect(mean(losses.slice(-4))).toBeLessThan(0.8 * mean(losses.slice(0, 4)));
    const record = readTrainingRecord(place(format))!;
    expect(record).toMatchObject({ format, train_on_inputs: false });
    expect(record.prompt_template).toBeUndefined();
  }
});

test("a run that asks for what cannot be is refused and leaves no file", async () => {
  const both = run(job("both", { valSetSize: 4 }));
  await expect(both).rejects.toThrow(ConfigError);
  await expect(both).rejects.toThrow("val_set_size 4 and a file for validation say different things");
  await expect(run(job("other", { resume: undefined, resumeFromCheckpoint: "true" }))).rejects.toThrow(
    "has no checkpoint to resume from",
  );
  expect(readdirSync(place("both"))).toEqual([]);
});
