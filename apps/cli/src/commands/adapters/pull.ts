import { adapterVersion } from "@graft/adapters";
import { checkNewFolder, writeFolderAtomic } from "@graft/core/io";
import { join } from "node:path";
import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { connect, type Remote, serverOptions } from "../../remote/client.ts";
import { RemoteError } from "../../remote/remote-error.ts";
import { CONFIG_FILE, WEIGHTS_FILES } from "../../remote/upload.ts";

export default defineCommand({
  name: "adapters pull",
  summary: "download an adapter from a server",
  description:
    "Writes a version's files to a new folder, all of them or nothing, and checks their hash. Without --version it is the published version.",
  positional: { syntax: "<name>", description: "name of the adapter on the server" },
  examples: [
    "graft adapters pull math --output ./math-lora",
    "graft adapters pull math --version 3 --output ./math-3 --json",
  ],
  options: z.object({
    version: z.int().min(1).optional().describe("number of a version (default: the published one)"),
    output: z.string().describe("folder of the adapter: new or empty"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ version: asked, output, json, ...server }, { positionals, print, signal }) {
    checkNewFolder(output, "the adapter");
    const remote = connect(server, signal);
    const name = positionals[0]!;
    const version = asked ?? (await publishedVersion(remote, name));
    const hash = await hashOf(remote, name, version);
    await writeFolderAtomic(output, async (folder) => {
      await download(remote, name, version, [CONFIG_FILE], folder);
      await download(remote, name, version, WEIGHTS_FILES, folder);
      const found = adapterVersion(folder);
      if (found !== hash)
        throw new RemoteError(
          `version ${version} of ${name} came damaged: its hash is ${found}, the server's is ${hash}`,
        );
    });
    print(
      json
        ? JSON.stringify({ name, version, hash, output })
        : `version ${version} of ${name} (${hash}) is in ${output}`,
    );
    return 0;
  },
});

async function publishedVersion({ api }: Remote, name: string): Promise<number> {
  const param = { name: encodeURIComponent(name) };
  const { current_version: version } = await (await api.v1.adapters[":name"].$get({ param })).json();
  if (version === null) throw new RemoteError(`${name} has no published version; name one with --version`);
  return version;
}

async function hashOf({ api }: Remote, name: string, version: number): Promise<string> {
  const param = { name: encodeURIComponent(name) };
  // Newest first, after the one that would come before it.
  const query = { limit: "1", after: String(version + 1) };
  const { data } = await (await api.v1.adapters[":name"].versions.$get({ param, query })).json();
  if (data[0]?.version !== version) throw new RemoteError(`${name} has no version ${version}`);
  return data[0].hash;
}

/** The first of these files that the version has. Throws RemoteError if it has none. */
async function download(
  remote: Remote,
  name: string,
  version: number,
  files: readonly string[],
  folder: string,
): Promise<void> {
  const [file, ...others] = files as [string, ...string[]];
  const param = { name: encodeURIComponent(name), version: String(version), file };
  const route = remote.api.v1.adapters[":name"].versions[":version"].files[":file"];
  try {
    const { body } = await route.$get({ param });
    await Bun.write(join(folder, file), new Response(body));
  } catch (error) {
    if (!(error instanceof RemoteError) || error.status !== 404 || others.length === 0) throw error;
    await download(remote, name, version, others, folder);
  }
}
