/** A conversation: who is asked, and what was said. */
import { suggest, UnknownName } from "@graft/core/errors";
import type { Remote } from "../client.ts";
import { type Ask, type Message, type Piece, streamAnswer } from "../stream-answer.ts";

export interface ChatOptions {
  readonly system?: string | undefined;
  readonly sampling: Pick<Ask, "temperature" | "top_p" | "max_tokens" | "seed">;
}

export interface Chat {
  readonly model: string;
  readonly system: string | undefined;
  /** No chat template: each text is continued on its own. */
  readonly isPlain: boolean;
  /** Names that can be asked, the base first, as the server has them now. Throws RemoteError. */
  models(): Promise<string[]>;
  /** The conversation goes on with it. Throws UnknownName with near names, RemoteError. */
  switchTo(model: string): Promise<void>;
  /** The conversation goes on with it; "" takes it away. */
  setSystem(text: string): void;
  /** Forgets what was said; the model and the system text stay. */
  reset(): void;
  /**
   * The answer as it comes. It is part of the conversation when it has ended, or as far as it came when `signal` stops it, which ends the texts without an error; what failed is no part.
   * Throws RemoteError.
   */
  ask(text: string, signal: AbortSignal): AsyncGenerator<Piece>;
}

/** Asks the server for its models and its chat template. `model`: undefined is the base. Throws as switchTo. */
export async function openChat({ api }: Remote, model: string | undefined, options: ChatOptions): Promise<Chat> {
  const models = async (): Promise<string[]> => {
    const { data } = await (await api.v1.models.$get()).json();
    return data.toSorted((a, b) => Number(a.parent !== null) - Number(b.parent !== null)).map(({ id }) => id);
  };
  const known = async (name: string): Promise<string> => {
    const names = await models();
    if (!names.includes(name)) throw new UnknownName(`the server has no model "${name}"${suggest(name, names)}`);
    return name;
  };
  let current = model === undefined ? (await models())[0]! : await known(model);
  let system = options.system;
  let said: readonly Message[] = [];
  const { chat_template: template } = await (await api.tokenizer_info.$get()).json();
  const isPlain = template === null;

  const about = (text: string): Ask["about"] => {
    if (isPlain) return { prompt: system === undefined ? text : `${system}\n${text}` };
    const first: readonly Message[] = system === undefined ? [] : [{ role: "system", content: system }];
    return [...first, ...said, { role: "user", content: text }];
  };
  return {
    get model() {
      return current;
    },
    get system() {
      return system;
    },
    isPlain,
    models,
    async switchTo(name) {
      current = await known(name);
    },
    setSystem(text) {
      system = text === "" ? undefined : text;
    },
    reset() {
      said = [];
    },
    async *ask(text, signal) {
      let answer = "";
      try {
        for await (const piece of streamAnswer(
          api,
          { ...options.sampling, model: current, about: about(text) },
          signal,
        )) {
          if (piece.type === "text") answer += piece.text;
          yield piece;
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      said = [...said, { role: "user", content: text }, { role: "assistant", content: answer }];
    },
  };
}
