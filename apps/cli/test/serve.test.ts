/** `graft serve` as a terminal runs it: a process group that Ctrl-C reaches as a whole. */
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../../..");

test("Ctrl-C lets a running request end, then everything does; only the engine's process has the driver", async () => {
  const command = Bun.spawn(
    [
      process.execPath,
      join(root, "apps/cli/src/main.ts"),
      ...["serve", "--model", join(root, "models/graft-micro-llama"), "--port", "0", "--json"],
      ...["--log-format", "text"],
      ...["--data-dir", mkdtempSync(join(tmpdir(), "serve-"))],
    ],
    // A group of its own, as a shell gives each command.
    { stdio: ["ignore", "pipe", "pipe"], detached: true },
  );
  const { value } = await command.stdout.getReader().read();
  const { url } = JSON.parse(new TextDecoder().decode(value)) as { url: string };
  if (process.platform === "linux")
    expect(readFileSync(`/proc/${command.pid}/maps`, "utf8")).not.toMatch(/dawn|libvulkan/);

  const body = { model: "graft-micro-llama", prompt: "Tom", max_tokens: 200, temperature: 1, seed: 3, stream: true };
  const response = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(body) });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value!;
  process.kill(-command.pid, "SIGINT");
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  expect(text).toEndWith("data: [DONE]\n\n");
  expect(await command.exited).toBe(0);
  expect(await new Response(command.stderr).text()).toBe("stopping: running requests may end\n");
});
