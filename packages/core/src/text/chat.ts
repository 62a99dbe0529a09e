/** Chat templates: messages to the text of a prompt. */
import { Template } from "@huggingface/jinja";
import { ConfigError } from "../errors/index.ts";

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface ChatTemplateTokens {
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
}

/** Throws ConfigError if the model has no template, or the template refuses the messages. */
export function applyChatTemplate(
  template: string | undefined,
  messages: readonly ChatMessage[],
  options: ChatTemplateTokens & { readonly addGenerationPrompt: boolean; readonly tools?: readonly unknown[] | undefined },
): string {
  if (template === undefined) {
    throw new ConfigError("this model has no chat template (tokenizer_config.json, chat_template.jinja); use the completions endpoint with a plain prompt");
  }
  try {
    return new Template(template).render({
      messages: messages.map((message) => ({ ...message })),
      add_generation_prompt: options.addGenerationPrompt,
      bos_token: options.bosToken ?? "",
      eos_token: options.eosToken ?? "",
      ...(options.tools ? { tools: [...options.tools] } : {}),
      raise_exception(message: string) {
        throw new Error(message);
      },
    });
  } catch (cause) {
    throw new ConfigError(`the chat template refused the messages: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
