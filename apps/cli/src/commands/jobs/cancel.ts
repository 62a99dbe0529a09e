import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";
import { jobLine } from "../../remote/job-text.ts";

export default defineCommand({
  name: "jobs cancel",
  summary: "end a fine-tuning job",
  description: "Ends a job that has not ended; what it had learnt by its last checkpoint stays and can be asked.",
  positional: { syntax: "<job>", description: "id of a job" },
  examples: ["graft jobs cancel ftjob-0123456789abcdef", "graft jobs cancel ftjob-0123456789abcdef --json"],
  options: z.object({ ...serverOptions, json: z.boolean().default(false).describe("print the job as JSON") }),
  async run({ json, ...server }, { positionals, print, signal }) {
    const { api } = connect(server, signal);
    const param = { id: encodeURIComponent(positionals[0]!) };
    const job = await (await api.v1.fine_tuning.jobs[":id"].cancel.$post({ param })).json();
    print(json ? JSON.stringify(job) : jobLine(job));
    return 0;
  },
});
