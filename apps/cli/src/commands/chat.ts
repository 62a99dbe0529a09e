import { z } from "zod";
import { defineCommand } from "../command.ts";
import { type Lines, pipedLines, terminalLines } from "../remote/chat/lines.ts";
import { runChat } from "../remote/chat/run-chat.ts";
import { openChat } from "../remote/chat/session.ts";
import { completeSlash } from "../remote/chat/slash.ts";
import { connect, serverOptions } from "../remote/client.ts";

export default defineCommand({
  name: "chat",
  summary: "talk to a model that a server serves",
  description:
    "Streams answers. /model NAME goes on with another adapter (Tab completes names), /models lists them, /system TEXT, /reset, /help, /quit. Ctrl-C stops an answer, Ctrl-D ends. Where the model has no chat template, each text is continued as it is. " +
    "Lines of a pipe are answered one after the other.",
  examples: [
    "graft chat",
    "graft chat --model math --temperature 0",
    "graft chat --system 'Answer in one sentence.' --max-tokens 200",
    "graft chat --model math --json",
  ],
  options: z.object({
    model: z.string().optional().describe("the base or an adapter (default: the base)"),
    system: z.string().optional().describe("what the model is told before all else"),
    temperature: z.number().min(0).max(2).optional().describe("0 is greedy (default: the server's, 1)"),
    topP: z.number().gt(0).max(1).optional().describe("default: the server's, 1"),
    maxTokens: z.int().min(1).optional().describe("of an answer (default: what the server gives)"),
    seed: z.int().min(0).optional().describe("of sampling (default: another one each time)"),
    ...serverOptions,
    json: z.boolean().default(false).describe("print each answer as a line of JSON"),
  }),
  async run(o, { print, log, signal }) {
    const remote = connect(o, signal);
    const sampling = {
      ...(o.temperature === undefined ? {} : { temperature: o.temperature }),
      ...(o.topP === undefined ? {} : { top_p: o.topP }),
      ...(o.maxTokens === undefined ? {} : { max_tokens: o.maxTokens }),
      ...(o.seed === undefined ? {} : { seed: o.seed }),
    };
    const chat = await openChat(remote, o.model, { system: o.system, sampling });
    let current: AbortController | undefined;
    const interruptible = async (work: (signal: AbortSignal) => Promise<void>): Promise<void> => {
      current = new AbortController();
      await work(AbortSignal.any([signal, current.signal])).finally(() => (current = undefined));
    };
    const screen = { write: (text: string) => process.stdout.write(text), print, log, isJson: o.json };
    const lines = process.stdin.isTTY && process.stdout.isTTY ? terminal() : pipedLines(process.stdin, signal);
    try {
      await runChat(chat, lines, screen, interruptible);
    } finally {
      lines.close();
    }
    return 0;

    function terminal(): Lines {
      log(`${remote.url}: /help lists the commands`);
      return terminalLines({
        complete: async (line) => completeSlash(line, await chat.models().catch(() => [])),
        onInterrupt() {
          current?.abort();
          return current !== undefined;
        },
      });
    }
  },
});
