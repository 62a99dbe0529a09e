import { z } from "zod";
import { defineCommand, UsageError } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";

export default defineCommand({
  name: "adapters publish",
  summary: "make a version of a server's adapter the one that requests get",
  description: "Requests in flight finish on the version they began with. `graft adapters rollback` goes back.",
  positional: [
    { syntax: "<name>", description: "name of the adapter on the server" },
    { syntax: "<version>", description: "number of a version" },
  ],
  examples: ["graft adapters publish math 3", "graft adapters publish math 3 --json"],
  options: z.object({ ...serverOptions, json: z.boolean().default(false).describe("print the adapter as JSON") }),
  async run({ json, ...server }, { positionals, print, signal }) {
    const [name, version] = positionals as [string, string];
    if (!/^[1-9]\d{0,8}$/.test(version)) throw new UsageError(`a version is a number, such as 3, not "${version}"`);
    const { api } = connect(server, signal);
    const param = { name: encodeURIComponent(name) };
    const answer = await api.v1.adapters[":name"].publish.$post({ param, json: { version: Number(version) } });
    const adapter = await answer.json();
    print(json ? JSON.stringify(adapter) : `${adapter.name} is version ${adapter.current_version}`);
    return 0;
  },
});
