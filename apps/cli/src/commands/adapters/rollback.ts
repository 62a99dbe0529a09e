import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";

export default defineCommand({
  name: "adapters rollback",
  summary: "go back to the version of a server's adapter that was published before",
  description: "Requests in flight finish on the version they began with.",
  positional: { syntax: "<name>", description: "name of the adapter on the server" },
  examples: ["graft adapters rollback math", "graft adapters rollback math --url http://gpu-box:8000 --json"],
  options: z.object({ ...serverOptions, json: z.boolean().default(false).describe("print the adapter as JSON") }),
  async run({ json, ...server }, { positionals, print, signal }) {
    const { api } = connect(server, signal);
    const param = { name: encodeURIComponent(positionals[0]!) };
    const adapter = await (await api.v1.adapters[":name"].rollback.$post({ param })).json();
    print(json ? JSON.stringify(adapter) : `${adapter.name} is version ${adapter.current_version}`);
    return 0;
  },
});
