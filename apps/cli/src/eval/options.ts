/** What `graft eval` can be asked for; stored with every run, so that it can be run again. */
import { NO_ISOLATION, scoringNames } from "@graft/eval";
import { z } from "zod";
import { oneOf } from "../command.ts";
import { modelOptions } from "../model-options.ts";
import { databaseFile } from "../runs/with-store.ts";

export const evalOptions = z.object({
  ...modelOptions,
  model: z.string().describe("folder of the base model, or a hub name; with --endpoint the server's name of it"),
  adapter: z
    .array(z.string())
    .default([])
    .describe("folders of PEFT adapters, or NAME=DIR; none is the base alone. Several are compared"),
  tasks: z
    .array(z.string())
    .describe("names, groups (arithmetic, commonsense, ...), all, or files that describe a task"),
  scoring: oneOf([...scoringNames])
    .optional()
    .describe(
      "paper: the paper's prompt, beams and extraction; fixed: the training prompt, greedy, what was meant; loglikelihood: choices ranked. Default: fixed",
    ),
  dataDir: z.array(z.string()).default([]).describe("folders with the tasks' files, such as gsm8k/test.json"),
  limit: z.int().min(1).optional().describe("only the first problems of each task"),
  numFewshot: z.int().min(0).default(0).describe("solved problems before each question"),
  promptTemplate: z.string().optional().describe("default: what the adapter was trained with, else the scoring's own"),
  batchSize: z
    .union([z.literal("auto"), z.coerce.number().int().min(1)])
    .default("auto")
    .describe("sequences that run together; auto: as many as the cache holds, 64 at the most"),
  numBeams: z.int().min(1).optional().describe("instead of the scoring's"),
  maxNewTokens: z.int().min(1).optional().describe("instead of the task's"),
  temperature: z.number().min(0).optional().describe("0 is greedy"),
  topP: z.number().min(0).max(1).optional().describe("with a temperature"),
  numSamples: z.int().min(1).default(1).describe("answers to each problem of humaneval, for pass@k"),
  seed: z.int().default(0).describe("of sampling, shots and intervals"),
  trainData: z
    .array(z.string())
    .default([])
    .describe(
      "training files: scores whose questions are in them are flagged; an adapter's own file is looked at anyway",
    ),
  allowCodeExecution: z.boolean().default(false).describe("run programs that the model writes, locked down"),
  codeIsolation: oneOf(["namespaces", NO_ISOLATION])
    .default("namespaces")
    .describe(
      "how they are locked down; the other one only keeps limits and time, for a container that is thrown away",
    ),
  judgeUrl: z.string().optional().describe("OpenAI-compatible server of the model that judges, such as http://host/v1"),
  judgeModel: z.string().optional().describe("its name there; the key is GRAFT_JUDGE_API_KEY"),
  endpoint: z
    .string()
    .optional()
    .describe("measure an OpenAI-compatible server instead, such as http://host/v1; the key is GRAFT_API_KEY"),
  endpointChat: z.boolean().default(false).describe("ask it through chat completions"),
  output: z.string().optional().describe("folder for samples_TASK.jsonl, results.json, table.md and report.html"),
  db: z.string().default(databaseFile).describe("database of runs; none keeps no record"),
  json: z.boolean().default(false).describe("print the results as JSON"),
});
export type EvalSettings = z.output<typeof evalOptions>;
