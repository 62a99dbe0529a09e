/** Files and fine-tuning jobs end to end, through the openai package. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import OpenAI, { toFile } from "openai";
import type { FineTuningJob } from "openai/resources/fine-tuning/jobs";
import type { RunningServer } from "../src/index.ts";
import { startMicroServer } from "./in-process.ts";
import { until } from "./shared.ts";

let server: RunningServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startMicroServer({ adapters: {} });
  client = new OpenAI({ apiKey: "none", baseURL: `${server.url}/v1`, maxRetries: 0 });
});
afterAll(() => server.close());

const rows = (count: number): string =>
  Array.from({ length: count }, (_, i) =>
    JSON.stringify({
      prompt: `Tom has ${i % 9} apples and gets ${i % 7}. `,
      completion: `The answer is ${(i % 9) + (i % 7)}.`,
    }),
  ).join("\n");
const upload = async (text: string, name = "rows.jsonl") =>
  client.files.create({ file: await toFile(Buffer.from(text), name), purpose: "fine-tune" });

interface Settings {
  readonly steps: number;
  readonly suffix?: string;
  readonly more?: object;
}
async function create(file: string, { steps, suffix = "test", more = {} }: Settings): Promise<FineTuningJob> {
  const hyperparameters = { max_steps: steps, n_epochs: 1000, batch_size: 4, save_steps: 4, ...more };
  const method = {
    type: "supervised",
    supervised: { hyperparameters, adapter: { name: "lora", r: 2, target_modules: ["q_proj"] } },
  };
  return client.fineTuning.jobs.create({
    model: "graft-micro-llama",
    training_file: file,
    suffix,
    seed: 5,
    method,
  } as never);
}
/** What a call that must fail says. */
const refusal = async (call: PromiseLike<unknown>): Promise<string> => {
  try {
    return `it did not fail: ${JSON.stringify(await call)}`;
  } catch (error) {
    return String(error);
  }
};
const post = async (path: string): Promise<{ status: number; body: Record<string, unknown> }> => {
  const response = await fetch(`${server.url}${path}`, { method: "POST" });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};
async function ended(id: string): Promise<FineTuningJob> {
  await (await fetch(`${server.url}/v1/fine_tuning/jobs/${id}/events?stream=true`)).text();
  return client.fineTuning.jobs.retrieve(id);
}
async function weightsOf(job: FineTuningJob): Promise<string> {
  const path = `/v1/adapters/${encodeURIComponent(job.fine_tuned_model!)}/versions/1/files/adapter_model.safetensors`;
  const response = await fetch(`${server.url}${path}`);
  expect(response.status).toBe(200);
  return createHash("sha256")
    .update(new Uint8Array(await response.arrayBuffer()))
    .digest("hex");
}
const losses = async (id: string): Promise<(readonly [number, number])[]> => {
  const events = [];
  for await (const event of client.fineTuning.jobs.listEvents(id, { limit: 100 })) events.push(event);
  return events
    .flatMap(({ data }) => {
      const { step, train_loss: loss } = (data ?? {}) as { step?: number; train_loss?: number };
      return step !== undefined && loss !== undefined ? [[step, loss] as const] : [];
    })
    .toReversed();
};

test("files are checked line by line, listed, read back and deleted", async () => {
  const file = await upload(rows(8));
  expect(file).toMatchObject({ object: "file", purpose: "fine-tune", status: "processed", filename: "rows.jsonl" });
  expect((file as unknown as { graft: object }).graft).toMatchObject({ format: "completion", rows: 8 });
  expect(await (await client.files.content(file.id)).text()).toBe(rows(8));
  const second = await upload(rows(9), "../../other.jsonl");
  expect(second.filename).toBe("other.jsonl");
  expect((await client.files.list({ limit: 1 })).data.map(({ id }) => id)).toEqual([second.id]);
  expect((await client.files.list({ limit: 1, after: second.id })).data.map(({ id }) => id)).toEqual([file.id]);
  expect(await client.files.delete(second.id)).toMatchObject({ id: second.id, deleted: true });
  expect(await refusal(client.files.retrieve(second.id))).toMatch("404");
  const wrong = upload(`${rows(2)}\n{"prompt": 1, "completion": "x"}\n{"prompt": "a"}`);
  expect(await refusal(wrong)).toMatch(/2 problems.*line 3.*prompt.*line 4.*completion/);
  expect(await refusal(client.files.create({ file: await toFile(Buffer.from("x"), "x"), purpose: "batch" }))).toMatch(
    "purpose",
  );
});

test("a job trains, tells of every step, and its result is asked the moment it is done", async () => {
  const file = await upload(rows(32));
  const job = await create(file.id, { steps: 20 });
  expect(job).toMatchObject({ object: "fine_tuning.job", model: "graft-micro-llama", training_file: file.id, seed: 5 });
  expect(await refusal(client.files.delete(file.id))).toMatch("409");
  const done = await ended(job.id);
  expect(done.status).toBe("succeeded");
  expect(done.fine_tuned_model).toMatch(/^ft:graft-micro-llama:graft:test:\w{8}$/);
  const answer = await client.completions.create({ model: done.fine_tuned_model!, prompt: "Tom has", max_tokens: 4 });
  expect(answer.model).toBe(done.fine_tuned_model!);
  expect((await losses(job.id)).map(([step]) => step)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  // Saved at 4, 8, 12 and 16; the last three stay, and can be asked.
  const checkpoints = (await client.fineTuning.jobs.checkpoints.list(job.id)).data;
  expect(checkpoints.map(({ step_number }) => step_number)).toEqual([16, 12, 8]);
  const early = { model: checkpoints[2]!.fine_tuned_model_checkpoint, prompt: "Tom has", max_tokens: 4 };
  expect((await client.completions.create(early)).choices.length).toBe(1);
  const gone = { ...early, model: early.model.replace(/8$/, "4") };
  expect(await refusal(client.completions.create(gone))).toMatch("404");
  expect((await client.fineTuning.jobs.list({ limit: 1 })).data[0]!.id).toBe(job.id);
  expect(await client.files.delete(file.id)).toMatchObject({ deleted: true });
});

test("paused and resumed, and with its engine killed, a job ends with the same numbers and bytes", async () => {
  const file = await upload(rows(32));
  const calm = await ended((await create(file.id, { steps: 24 })).id);
  const job = await create(file.id, { steps: 24 });
  const stepOf = async () =>
    ((await client.fineTuning.jobs.retrieve(job.id)) as unknown as { graft: { step: number } }).graft.step;
  await until(async () => (await stepOf()) >= 3, "a few steps");
  const paused = await post(`/v1/fine_tuning/jobs/${job.id}/pause`);
  expect([paused.status, paused.body.status]).toEqual([200, "paused"]);
  expect((await post(`/v1/fine_tuning/jobs/${job.id}/pause`)).status).toBe(409);
  expect((await post(`/v1/fine_tuning/jobs/${job.id}/resume`)).status).toBe(200);
  const at = await stepOf();
  await until(async () => (await stepOf()) > at, "another step");
  process.kill(server.engine.pid!, "SIGKILL");
  const done = await ended(job.id);
  expect(done.status).toBe("succeeded");
  expect(await losses(job.id)).toEqual(await losses(calm.id));
  expect(await weightsOf(done)).toBe(await weightsOf(calm));
});

test("a job that trains changes no answer, and a cancelled one leaves nothing", async () => {
  const file = await upload(rows(32));
  const ask = async () =>
    (
      await client.completions.create({
        model: "graft-micro-llama",
        prompt: "Tom has 3",
        max_tokens: 24,
        temperature: 0,
      })
    ).choices[0]!.text;
  const alone = await ask();
  const job = await create(file.id, { steps: 500, more: { save_steps: 0 } });
  const queued = await create(file.id, { steps: 500 });
  await until(async () => (await client.fineTuning.jobs.retrieve(job.id)).status === "running", "the job runs");
  expect(await Promise.all(Array.from({ length: 4 }, ask))).toEqual(Array.from({ length: 4 }, () => alone));
  expect((await client.fineTuning.jobs.retrieve(queued.id)).status).toBe("queued");
  for (const { id } of [queued, job]) expect((await client.fineTuning.jobs.cancel(id)).status).toBe("cancelled");
  expect(await refusal(client.fineTuning.jobs.cancel(job.id))).toMatch("409");
  expect((await post(`/v1/fine_tuning/jobs/${job.id}/resume`)).status).toBe(409);
  expect((await client.fineTuning.jobs.retrieve(job.id)).fine_tuned_model).toBeNull();
});

test("what a job cannot be made of is a 400 that names the field", async () => {
  const file = await upload(rows(8));
  const cases: readonly (readonly [object, string])[] = [
    [{ training_file: "file-none" }, "training_file"],
    [{ model: "nobody" }, "nobody"],
    [{ hyperparameters: { n_epoch: 1 } }, "n_epochs"],
    [{ hyperparameters: { batch_size: 4, micro_batch_size: 3 } }, "micro_batch_size"],
    [{ method: { type: "supervised", supervised: { adapter: { name: "lorra" } } } }, "lora"],
    [
      { method: { type: "supervised", supervised: { adapter: { name: "lora", target_modules: ["q_prj"] } } } },
      "q_proj",
    ],
    [{ method: { type: "dpo" } }, "method"],
    [{ suffix: "a/b" }, "suffix"],
  ];
  for (const [more, said] of cases) {
    const body = { model: "graft-micro-llama", training_file: file.id, ...more };
    const failed = await client.fineTuning.jobs.create(body as never).catch((error: unknown) => error);
    expect(failed, JSON.stringify(more)).toBeInstanceOf(OpenAI.APIError);
    expect((failed as InstanceType<typeof OpenAI.APIError>).status, JSON.stringify(more)).toBeOneOf([400, 404]);
    expect(String(failed)).toContain(said);
  }
});
