import { expect, test } from "bun:test";
import { UsageError } from "../command.ts";
import { jobSettings } from "./job-settings.ts";

test("settings go where they belong, under the API's names or those of train", () => {
  expect(
    jobSettings("lora", [
      ...["lora-r=16", "lora_alpha=32", "useDora=True", "numEpochs=2", "learning_rate=3e-4"],
      ...["batch-size=auto", "save-step=0", "lr-scheduler-type=cosine"],
    ]),
  ).toEqual({
    hyperparameters: { n_epochs: 2, learning_rate: 3e-4, batch_size: "auto", save_steps: 0, lr_scheduler: "cosine" },
    adapter: { name: "lora", r: 16, lora_alpha: 32, use_dora: true },
  });
  expect(jobSettings("adalora", ["deltaT=10"]).adapter).toEqual({ name: "adalora", deltaT: 10 });
});

test("values are JSON, Python, lists between commas, or texts; what the command line split is put together", () => {
  const value = (...entries: string[]) => jobSettings("lora", entries).adapter.target_modules;
  expect(value("target_modules=all-linear")).toBe("all-linear");
  expect(value("target_modules=q_proj", "v_proj")).toEqual(["q_proj", "v_proj"]);
  expect(value("target_modules=q_proj,v_proj")).toEqual(["q_proj", "v_proj"]);
  expect(value("target_modules=['q_proj'", "'v_proj']")).toEqual(["q_proj", "v_proj"]);
  expect(value("target_modules=None")).toBeNull();
});

test("what is no setting is refused with near names", () => {
  const refused = (...entries: string[]) => expect(() => jobSettings("lora", entries));
  refused("n_epoch=2").toThrow(UsageError);
  refused("n_epoch=2").toThrow('lora has no setting "n_epoch"; did you mean n_epochs');
  refused("lora_alfa=2").toThrow("did you mean lora_alpha");
  refused("r").toThrow('--set is KEY=VALUE, not "r"');
  refused("=3").toThrow("--set is KEY=VALUE");
  refused("r=1", "lora_r=2").toThrow("lora_r is given twice");
});
