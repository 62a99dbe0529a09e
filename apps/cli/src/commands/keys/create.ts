import { z } from "zod";
import { defineCommand, oneOf } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";

export default defineCommand({
  name: "keys create",
  summary: "make an API key of a server",
  description:
    "Prints the key: the only time that it is shown, the server keeps its hash. The first key closes a server that was open. infer: models, completions, chat; train: files, jobs, adapters; admin: everything. Needs an admin key.",
  positional: { syntax: "<name>", description: "who it is for" },
  examples: [
    "graft keys create laptop",
    "graft keys create ci --scopes infer,train --requests-per-minute 60 --tokens-per-minute 20000 --json",
  ],
  options: z.object({
    scopes: z
      .array(oneOf(["infer", "train", "admin"]))
      .default(["infer"])
      .describe("what it may do"),
    requestsPerMinute: z.int().min(1).optional().describe("default: no limit"),
    tokensPerMinute: z.int().min(1).optional().describe("default: no limit"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print the key and what is known of it as JSON"),
  }),
  async run({ scopes, requestsPerMinute, tokensPerMinute, json, ...server }, { positionals, print, log, signal }) {
    const { api } = connect(server, signal);
    const answer = await api.v1.keys.$post({
      json: {
        name: positionals[0]!,
        scopes,
        requests_per_minute: requestsPerMinute,
        tokens_per_minute: tokensPerMinute,
      },
    });
    const made = await answer.json();
    print(json ? JSON.stringify(made) : made.key);
    log(`key ${made.id} of ${made.name}: it is shown this once`);
    return 0;
  },
});
