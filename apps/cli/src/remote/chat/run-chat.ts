/** A chat from its first line to its last. */
import { DataError, UnknownName } from "@graft/core/errors";
import { styleText } from "node:util";
import { RemoteError } from "../remote-error.ts";
import type { Lines } from "./lines.ts";
import type { Chat } from "./session.ts";
import { slashCommand } from "./slash.ts";

export interface ChatScreen {
  /** Answers, as they come. */
  readonly write: (text: string) => void;
  readonly print: (line: string) => void;
  /** For the person. */
  readonly log: (line: string) => void;
  /** Each answer as a line of JSON. */
  readonly isJson: boolean;
}

/**
 * Answers each line until /quit or the end of the lines. Of a person's lines what fails is told and the chat goes on; of a pipe's it is thrown: RemoteError, UnknownName, DataError for
 * a text without its end. `interruptible` runs each answer, with a signal that Ctrl-C aborts.
 */
export async function runChat(
  chat: Chat,
  lines: Lines,
  screen: ChatScreen,
  interruptible: (work: (signal: AbortSignal) => Promise<void>) => Promise<void>,
): Promise<void> {
  const isColoured = lines.isInteractive && process.stdout.isTTY;
  const styled = (style: "cyan" | "dim", text: string): string => (isColoured ? styleText(style, text) : text);
  if (chat.isPlain)
    screen.log(`${chat.model} has no chat template: each text is continued as it is, without what was said before`);
  for (;;) {
    try {
      const text = await nextText(lines, styled("cyan", `${chat.model}> `), styled("dim", "... "));
      if (text === undefined) return;
      if (text.trim() === "") continue;
      const slash = slashCommand(text);
      if (slash) {
        const said = await slash.command.run(chat, slash.rest);
        if (said === undefined) return;
        screen.log(said);
        continue;
      }
      const question = text.startsWith("//") ? text.slice(1) : text;
      await interruptible((signal) => answer(chat, question, screen, signal));
    } catch (error) {
      if (!lines.isInteractive || !(error instanceof RemoteError || error instanceof UnknownName)) throw error;
      const hint =
        error instanceof RemoteError && error.code === "context_length_exceeded" ? " (/reset begins anew)" : "";
      screen.log(error.message + hint);
    }
  }
}

/** A line, or several between """ and """; undefined at the end. Throws DataError where the second is missing. */
async function nextText(lines: Lines, prompt: string, more: string): Promise<string | undefined> {
  const first = await lines.next(prompt);
  const mark = '"""';
  if (first === undefined || !first.startsWith(mark)) return first;
  const parts: string[] = [];
  for (let line: string | undefined = first.slice(mark.length); ; line = await lines.next(more)) {
    if (line === undefined) {
      if (lines.isInteractive) return undefined;
      throw new DataError('the text that """ begins has no end; """ ends it');
    }
    if (line.endsWith(mark)) return [...parts, line.slice(0, -mark.length)].join("\n").trim();
    parts.push(line);
  }
}

async function answer(chat: Chat, text: string, screen: ChatScreen, signal: AbortSignal): Promise<void> {
  const { model } = chat;
  let whole = "";
  let end: { readonly finish_reason: string | null; readonly usage: unknown } = { finish_reason: null, usage: null };
  try {
    for await (const piece of chat.ask(text, signal)) {
      if (piece.type === "end") end = { finish_reason: piece.reason, usage: piece.usage };
      else {
        whole += piece.text;
        if (!screen.isJson) screen.write(piece.text);
      }
    }
  } finally {
    if (!screen.isJson && whole !== "") screen.print("");
  }
  if (screen.isJson) screen.print(JSON.stringify({ model, prompt: text, text: whole, ...end }));
  else if (end.finish_reason === "length") screen.log("(the answer has reached its longest)");
  else if (signal.aborted) screen.log("(stopped)");
}
