import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, serverOptions } from "../../remote/client.ts";
import { bytesText } from "../../remote/text.ts";
import { adapterFilesOf } from "../../remote/upload.ts";

export default defineCommand({
  name: "adapters push",
  summary: "upload an adapter folder to a server",
  description:
    "Uploads adapter_config.json and the weights as a new version of a name, and publishes it: requests get it at once, those in flight finish on the version they began with. The server checks the files against its base first. The same files again are the same version.",
  positional: [
    { syntax: "<name>", description: "name under which it is asked" },
    { syntax: "<folder>", description: "adapter folder" },
  ],
  examples: ["graft adapters push math ./math-lora", "graft adapters push math ./math-lora --no-publish --json"],
  options: z.object({
    publish: z.boolean().default(true).describe("requests get it at once"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print the adapter, with the version under `added`, as JSON"),
  }),
  async run({ publish, json, ...server }, { positionals, print, log, signal }) {
    const [name, folder] = positionals as [string, string];
    const { api, url } = connect(server, signal);
    const files = await adapterFilesOf(folder);
    log(`uploading ${folder} to ${url}, ${bytesText(files.reduce((sum, { size }) => sum + size, 0))}`);
    const answer = await api.v1.adapters.$post({ form: { name, publish: String(publish), files } });
    const adapter = await answer.json();
    const { version, hash } = adapter.added;
    const state =
      adapter.current_version === version
        ? "published"
        : `not published (\`graft adapters publish ${name} ${version}\`)`;
    print(json ? JSON.stringify(adapter) : `${name} version ${version} (${hash}) is ${state}`);
    return 0;
  },
});
