import { z } from "zod";
import { defineCommand } from "../command.ts";
import { connect, serverOptions } from "../remote/client.ts";
import { pause } from "../remote/events.ts";
import { readSnapshot, snapshotText } from "../remote/snapshot.ts";

export default defineCommand({
  name: "ps",
  summary: "say what a server has and does",
  description:
    "Shows a server's model, device and memory, its requests, its adapters (where their values are, what they were asked), and the jobs that run or wait. Jobs need a key that may train.",
  examples: [
    "graft ps",
    "graft ps --watch",
    "graft ps --url http://gpu-box:8000 --api-key KEY --json",
    "graft ps --watch --interval 10 --json",
  ],
  options: z.object({
    watch: z.boolean().default(false).describe("show it again and again, until Ctrl-C").meta({ short: "w" }),
    interval: z.number().min(0.1).default(2).describe("with --watch: seconds in between"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print one JSON document; with --watch one a line"),
  }),
  async run({ watch, interval, json, ...server }, { print, signal }) {
    const remote = connect(server, signal);
    const show = async (): Promise<void> => {
      const snapshot = await readSnapshot(remote);
      if (json) return print(JSON.stringify(snapshot));
      const text = snapshotText(snapshot, Date.now() / 1000);
      // On a terminal in place of what was there before.
      print(watch && process.stdout.isTTY ? `\x1b[H\x1b[J${text}` : `${text}${watch ? "\n" : ""}`);
    };
    await show();
    while (watch) {
      try {
        await pause(1000 * interval, signal);
        await show();
      } catch (error) {
        // Ctrl-C is how watching ends.
        if (signal.aborted) break;
        throw error;
      }
    }
    return 0;
  },
});
