import { methodsByName } from "@graft/adapters";
import { existsSync } from "node:fs";
import { z } from "zod";
import { defineCommand, oneOf, UsageError } from "../../command.ts";
import { baseName, connect, serverOptions } from "../../remote/client.ts";
import { jobSettings } from "../../remote/job-settings.ts";
import { jobLine } from "../../remote/job-text.ts";
import { uploadTrainingFile } from "../../remote/upload.ts";
import { detachedLine, watchJob } from "../../remote/watch-job.ts";

export default defineCommand({
  name: "jobs create",
  summary: "train an adapter on a server",
  description:
    "Uploads the data and starts a fine-tuning job on the server's base; the result is served the moment it is done. --set takes settings of training and fields of the adapter's config, under the API's names or those of `graft train`. " +
    "With --wait it ends when the job does, with exit code 1 unless it succeeded; Ctrl-C leaves the job running.",
  examples: [
    "graft jobs create --file rows.jsonl --wait",
    "graft jobs create --file chat.jsonl --adapter lora --set r=16 --set target_modules=q_proj,v_proj --set n_epochs=2",
    "graft jobs create --file rows.json --validation-file held-out.json --adapter series --set bottleneck_size=64 --suffix math",
    "graft jobs create --training-file file-0123456789abcdef --adapter prefix-tuning --set num_virtual_tokens=20 --json",
  ],
  options: z.object({
    file: z
      .string()
      .optional()
      .describe("training data to upload: chats, completions or instructions, as JSON Lines or JSON"),
    trainingFile: z.string().optional().describe("id of a file that the server has, in place of --file"),
    validationFile: z.string().optional().describe("rows to validate on: a file to upload, or the id of one"),
    model: z
      .string()
      .optional()
      .describe("the base, or an adapter whose values training begins with (default: the base)"),
    adapter: oneOf([...methodsByName.keys()])
      .default("lora")
      .describe(`adapter method: ${[...methodsByName.keys()].join(", ")}`),
    set: z
      .array(z.string())
      .default([])
      .describe("KEY=VALUE, may be given several times: r=8, learning_rate=3e-4, batch_size=16, ..."),
    suffix: z.string().optional().describe("part of the result's name"),
    seed: z.int().min(0).optional().describe("of initialisation, order and dropout"),
    wait: z.boolean().default(false).describe("show the progress until the job has ended"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print the job as JSON"),
  }),
  async run(o, { print, log, signal }) {
    if ((o.file === undefined) === (o.trainingFile === undefined))
      throw new UsageError("give --file or --training-file, one of the two");
    const { hyperparameters, adapter } = jobSettings(o.adapter, o.set);
    const remote = connect(o, signal);
    const { jobs } = remote.api.v1.fine_tuning;
    const model = o.model ?? (await baseName(remote));
    const training = o.trainingFile ?? (await uploadTrainingFile(remote, o.file!, log));
    const validation =
      o.validationFile === undefined || isFileId(o.validationFile)
        ? o.validationFile
        : await uploadTrainingFile(remote, o.validationFile, log);
    const created = await jobs.$post({
      json: {
        model,
        training_file: training,
        validation_file: validation,
        suffix: o.suffix,
        seed: o.seed,
        method: { type: "supervised", supervised: { hyperparameters, adapter } },
      },
    });
    const job = await created.json();
    if (!o.wait) {
      print(o.json ? JSON.stringify(job) : job.id);
      log(`it trains ${job.graft.total_steps} steps; \`graft jobs logs ${job.id} --follow\` follows it`);
      return 0;
    }
    log(`job ${job.id}: ${job.graft.total_steps} steps of ${job.graft.method}`);
    try {
      const ended = await watchJob(remote, job.id, log, signal);
      print(o.json ? JSON.stringify(ended) : jobLine(ended));
      return ended.status === "succeeded" ? 0 : 1;
    } catch (error) {
      if (!signal.aborted) throw error;
      log(detachedLine(job.id));
      return 130;
    }
  },
});

const isFileId = (text: string): boolean => text.startsWith("file-") && !existsSync(text);
