import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";
import { jobLine } from "../../remote/job-text.ts";

export default defineCommand({
  name: "jobs resume",
  summary: "go on with a paused fine-tuning job",
  description: "The job goes on from its last checkpoint, to the same numbers as if it had never been paused.",
  positional: { syntax: "<job>", description: "id of a job" },
  examples: ["graft jobs resume ftjob-0123456789abcdef", "graft jobs resume ftjob-0123456789abcdef --json"],
  options: z.object({ ...serverOptions, json: z.boolean().default(false).describe("print the job as JSON") }),
  async run({ json, ...server }, { positionals, print, signal }) {
    const { api } = connect(server, signal);
    const param = { id: encodeURIComponent(positionals[0]!) };
    const job = await (await api.v1.fine_tuning.jobs[":id"].resume.$post({ param })).json();
    print(json ? JSON.stringify(job) : jobLine(job));
    return 0;
  },
});
