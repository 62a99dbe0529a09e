import { expect, test } from "bun:test";
import { jobRequestOf } from "./job-request.ts";

const files = { model: "base", training: "file-1", validation: undefined };
function fields(values: Record<string, string>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(values)) form.set(name, value);
  return form;
}

test("what is left empty is left to the server", () => {
  expect(jobRequestOf(fields({ method: "lora", n_epochs: "", suffix: " ", seed: "", settings: "" }), files)).toEqual({
    model: "base",
    training_file: "file-1",
    method: { type: "supervised", supervised: { hyperparameters: {}, adapter: { name: "lora" } } },
  });
});

test("every field has its place", () => {
  const form = fields({
    method: "series",
    n_epochs: "2",
    learning_rate: "3e-4",
    lr_scheduler: "cosine",
    train_on_inputs: "on",
    suffix: "sums",
    seed: "7",
    "size.bottleneck_size": "16",
    settings: '{"target_modules": ["up_proj"]}',
  });
  expect(jobRequestOf(form, { ...files, validation: "file-2" })).toEqual({
    model: "base",
    training_file: "file-1",
    validation_file: "file-2",
    suffix: "sums",
    seed: 7,
    method: {
      type: "supervised",
      supervised: {
        hyperparameters: { n_epochs: 2, learning_rate: 3e-4, lr_scheduler: "cosine", train_on_inputs: true },
        adapter: { name: "series", bottleneck_size: 16, target_modules: ["up_proj"] },
      },
    },
  });
});

test("settings that are no object are refused in words", () => {
  for (const [settings, message] of [
    ["{", "not JSON"],
    ["[1]", "must be an object"],
    ["null", "must be an object"],
  ] as const)
    expect(() => jobRequestOf(fields({ method: "lora", settings }), files)).toThrow(message);
});
