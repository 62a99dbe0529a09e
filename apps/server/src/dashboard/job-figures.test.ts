import { expect, test } from "bun:test";
import type { Job, JobEvent } from "./api-types.ts";
import { changes, curvesOf, hasEnded, progressOf, secondsLeft, spread } from "./job-figures.ts";

const job = (more: Partial<Job>): Job => ({
  id: "ftjob-1",
  model: "base",
  created_at: 0,
  finished_at: null,
  fine_tuned_model: null,
  status: "running",
  training_file: "file-1",
  validation_file: null,
  trained_tokens: null,
  error: null,
  estimated_finish: null,
  ...more,
});
const event = (data: JobEvent["data"], n = 0): JobEvent => ({
  id: `ftevent-${n}`,
  created_at: 0,
  level: "info",
  message: "",
  type: data ? "metrics" : "message",
  data,
});

test("progress is known once the steps are", () => {
  expect(progressOf(job({}))).toBeUndefined();
  expect(progressOf(job({ graft: { step: 3, total_steps: 12 } }))).toBe(0.25);
  expect(progressOf(job({ graft: { step: null, total_steps: 12 } }))).toBe(0);
  expect(progressOf(job({ graft: { step: 13, total_steps: 12 } }))).toBe(1);
  expect(progressOf(job({ status: "succeeded" }))).toBe(1);
});

test("only a running job has time left", () => {
  expect(secondsLeft(job({ estimated_finish: 100 }), 40_000)).toBe(60);
  expect(secondsLeft(job({ estimated_finish: 100 }), 140_000)).toBe(0);
  expect(secondsLeft(job({ estimated_finish: 100, status: "paused" }), 0)).toBeUndefined();
  expect(secondsLeft(job({}), 0)).toBeUndefined();
});

test("nothing can be asked of a job that has ended", () => {
  for (const status of Object.keys(changes) as Job["status"][])
    expect(changes[status].length === 0).toBe(hasEnded({ status }));
});

test("curves are in order of the steps, and a step's later figures win", () => {
  const curves = curvesOf([
    event(null),
    event({ step: 2, train_loss: 3 }),
    event({ step: 1, train_loss: 4, learning_rate: 0.1 }),
    event({ step: 2, valid_loss: 3.5 }),
    event({ step: 1, train_loss: 4.5 }),
    event({}),
  ]);
  expect(curves).toEqual({
    steps: [1, 2],
    training: [4.5, 3],
    validation: [null, 3.5],
    learningRate: [0.1, null],
  });
});

test("rows are spread evenly from the first to the last", () => {
  expect(spread(0, 5)).toEqual([]);
  expect(spread(3, 5)).toEqual([0, 1, 2]);
  expect(spread(101, 5)).toEqual([0, 25, 50, 75, 100]);
});
