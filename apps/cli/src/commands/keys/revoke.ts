import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";

export default defineCommand({
  name: "keys revoke",
  summary: "revoke an API key of a server",
  description: "The key is refused from now on. Needs an admin key.",
  positional: { syntax: "<key>", description: "id of a key, as `graft keys ls` shows it" },
  examples: ["graft keys revoke key-0123456789abcdef", "graft keys revoke key-0123456789abcdef --json"],
  options: z.object({ ...serverOptions, json: z.boolean().default(false).describe("print the answer as JSON") }),
  async run({ json, ...server }, { positionals, print, signal }) {
    const { api } = connect(server, signal);
    const param = { id: encodeURIComponent(positionals[0]!) };
    const answer = await (await api.v1.keys[":id"].$delete({ param })).json();
    print(json ? JSON.stringify(answer) : `key ${answer.id} is revoked`);
    return 0;
  },
});
