/** Chat templates: messages to the text of a prompt, by the Jinja source that a model brings along. */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { ConfigError } from "../errors/index.ts";
import { strftime } from "./_clock.ts";

/** A message as OpenAI's API has it. Templates see further fields (tool_calls, name, ...) and content that is a list of parts as they are. */
export interface ChatMessage {
  readonly role: string;
  readonly content: unknown;
  readonly [field: string]: unknown;
}

export interface ChatTemplateTokens {
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
}

export interface ChatTemplateOptions extends ChatTemplateTokens {
  /** Ends with what opens the assistant's turn. */
  readonly addGenerationPrompt: boolean;
  readonly tools?: readonly unknown[] | undefined;
  /** Further variables of the template, for example `{ enable_thinking: false }`. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined;
  /** What `strftime_now` reads. */
  readonly now?: (() => Date) | undefined;
}

/** The limit of Jinja's own sandbox. */
const MAX_RANGE = 100_000;

/**
 * The text of a prompt, special tokens and all: encode it without adding more. Spacing as in transformers (trim_blocks, lstrip_blocks). Throws ConfigError if the
 * model has no template, the template cannot be read, or it refuses the messages.
 */
export function applyChatTemplate(
  template: string | undefined,
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions,
): string {
  if (template === undefined) {
    throw new ConfigError(
      "this model has no chat template (tokenizer_config.json, chat_template.jinja); send a plain prompt to completions instead",
    );
  }
  const program = parsed(template);
  const { addGenerationPrompt, bosToken, eosToken, tools, variables, now = () => new Date() } = options;
  const environment = new Environment();
  const globals: Record<string, unknown> = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range,
    raise_exception(message: string) {
      throw new Error(message);
    },
    strftime_now: (format: string) => strftime(now(), format),
  };
  const own = {
    messages: [...messages],
    add_generation_prompt: addGenerationPrompt,
    bos_token: bosToken ?? "",
    eos_token: eosToken ?? "",
    ...(tools ? { tools: [...tools] } : {}),
  };
  for (const [name, value] of Object.entries({ ...globals, ...variables, ...own })) environment.set(name, value);
  const result = attempt("the model's chat template refuses the messages", () =>
    new Interpreter(environment).run(program),
  );
  return String(result.value);
}

let last: { readonly template: string; readonly program: ReturnType<typeof parse> } | undefined;

/** Training renders the one template of its model for every row: parsing it anew takes longer than the rest. */
function parsed(template: string): ReturnType<typeof parse> {
  if (last?.template !== template) {
    const program = attempt("the model's chat template cannot be read", () =>
      parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true })),
    );
    last = { template, program };
  }
  return last.program;
}

function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new ConfigError(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Python's `range`, as a list. */
function range(first: number, end?: number, step = 1): number[] {
  const [from, to] = end === undefined ? [0, first] : [first, end];
  const count = Math.max(0, Math.ceil((to - from) / step));
  if (!(count <= MAX_RANGE)) throw new Error(`range of ${count} numbers, at most ${MAX_RANGE} are allowed`);
  return Array.from({ length: count }, (_, i) => from + i * step);
}
