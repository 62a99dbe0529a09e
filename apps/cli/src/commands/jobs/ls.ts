import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";
import { jobsTable } from "../../remote/job-text.ts";

export default defineCommand({
  name: "jobs ls",
  summary: "list a server's fine-tuning jobs",
  description: "Lists the newest jobs first: how far they are, and what they became.",
  examples: ["graft jobs ls", "graft jobs ls --limit 5 --json"],
  options: z.object({
    limit: z.int().min(1).max(1000).default(20).describe("how many"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ limit, json, ...server }, { print, log, signal }) {
    const { api, url } = connect(server, signal);
    const { data } = await (await api.v1.fine_tuning.jobs.$get({ query: { limit: String(limit) } })).json();
    if (json) print(JSON.stringify({ jobs: data }));
    else if (data.length > 0) print(jobsTable(data));
    else log(`${url} has no jobs`);
    return 0;
  },
});
