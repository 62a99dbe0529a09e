/** What begins with a slash in a chat. */
import { suggest, UnknownName } from "@graft/core/errors";
import type { Chat } from "./session.ts";

export interface SlashCommand {
  /** What follows the name. */
  readonly takes?: string;
  readonly summary: string;
  /** Returns what is said of it; undefined ends the chat. Throws what the chat throws. */
  run(chat: Chat, rest: string): Promise<string> | string | undefined;
}

export const slashCommands: Readonly<Record<string, SlashCommand>> = {
  model: {
    takes: "NAME",
    summary: "go on with another model; without a name, which one it is",
    async run(chat, name) {
      if (name !== "") await chat.switchTo(name);
      return `the model is ${chat.model}`;
    },
  },
  models: {
    summary: "the names that can be asked",
    run: async (chat) =>
      (await chat.models()).map((name) => (name === chat.model ? `* ${name}` : `  ${name}`)).join("\n"),
  },
  system: {
    takes: "TEXT",
    summary: "what the model is told before all else; without a text, nothing",
    run(chat, text) {
      chat.setSystem(text);
      return text === "" ? "there is no system text" : `the system text is: ${text}`;
    },
  },
  reset: {
    summary: "forget what was said",
    run(chat) {
      chat.reset();
      return "the conversation begins anew";
    },
  },
  help: { summary: "this list", run: help },
  quit: { summary: "end, as Ctrl-D does", run: () => undefined },
};

function help(): string {
  const entries = Object.entries(slashCommands).map(([name, { takes, summary }]) => [
    `/${name}${takes === undefined ? "" : ` ${takes}`}`,
    summary,
  ]);
  const width = Math.max(...entries.map(([syntax]) => syntax!.length));
  return [
    ...entries.map(([syntax, summary]) => `${syntax!.padEnd(width)}  ${summary}`),
    '""" begins a text of several lines and ends it; // begins a text with a slash; Ctrl-C stops an answer.',
  ].join("\n");
}

/** The command that a line gives, and what follows its name; undefined: it is a text for the model. Throws UnknownName with near names. */
export function slashCommand(line: string): { readonly command: SlashCommand; readonly rest: string } | undefined {
  if (!line.startsWith("/") || line.startsWith("//")) return undefined;
  const [, name = "", rest = ""] = /^\/(\S*)\s*(.*)$/s.exec(line)!;
  if (!Object.hasOwn(slashCommands, name))
    throw new UnknownName(
      `there is no command /${name}${suggest(name, Object.keys(slashCommands))}; // begins a text with a slash`,
    );
  return { command: slashCommands[name]!, rest: rest.trim() };
}

/** Completions of a line, and the part of it that they replace, as node's readline wants them. */
export function completeSlash(line: string, models: readonly string[]): [string[], string] {
  const named = /^\/model\s+(.*)$/.exec(line);
  const [words, part] = named
    ? [models, named[1]!]
    : line.startsWith("/")
      ? [Object.keys(slashCommands).map((name) => `/${name}`), line]
      : [[], line];
  return [words.filter((word) => word.startsWith(part)), part];
}
