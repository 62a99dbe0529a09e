import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";
import { followJob, type JobEvent, jobEvents } from "../../remote/events.ts";
import { whenText } from "../../remote/text.ts";

export default defineCommand({
  name: "jobs logs",
  summary: "show what happened in a fine-tuning job",
  description:
    "Prints the events of a job, the oldest first. With --follow also those that come, until the job has ended; a lost connection is made again, and no event is lost or printed twice.",
  positional: { syntax: "<job>", description: "id of a job" },
  examples: ["graft jobs logs ftjob-0123456789abcdef", "graft jobs logs ftjob-0123456789abcdef -f --json"],
  options: z.object({
    follow: z.boolean().default(false).describe("go on until the job has ended").meta({ short: "f" }),
    ...serverOptions,
    json: z.boolean().default(false).describe("print each event as a line of JSON"),
  }),
  async run({ follow, json, ...server }, { positionals, print, log, signal }) {
    const remote = connect(server, signal);
    const id = positionals[0]!;
    const onLost = (): void => log(`the connection to ${remote.url} is lost; trying again`);
    const events = follow ? followJob(remote, id, { signal, onLost }) : await jobEvents(remote, id);
    for await (const event of events) print(json ? JSON.stringify(event) : line(event));
    return 0;
  },
});

/** Levels but the usual one are said. */
function line({ created_at: at, level, message }: JobEvent): string {
  return `${whenText(at)}  ${level === "info" ? "" : `${level}: `}${message}`;
}
