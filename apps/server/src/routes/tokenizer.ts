/** POST /tokenize and /detokenize, GET /tokenizer_info, as vLLM has them and lm-evaluation-harness's remote tokenizer asks them. */
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { chatPromptIds, messagesField, templateFields } from "../inference/chat-messages.ts";
import { describe, jsonBody } from "../describe.ts";
import { ApiError } from "../errors.ts";
import { adapterOf, contextLength } from "../inference/generation.ts";
import type { Services } from "../services.ts";
import { planTools, toolFields } from "../inference/tool-choice.ts";

const tokenizeRequest = z.object({
  model: z.string().nullish().describe("the base or an adapter: virtual tokens leave it a shorter context"),
  prompt: z.string().nullish().describe("this, or messages"),
  add_special_tokens: z.boolean().nullish().describe("of a prompt; default true"),
  messages: messagesField.nullish(),
  ...templateFields,
  tools: toolFields.tools,
  return_token_strs: z.boolean().nullish(),
});
const tokenizeResponse = z.object({
  count: z.int().min(0),
  max_model_len: z.int(),
  tokens: z.array(z.int().min(0)),
  token_strs: z.array(z.string().nullable()).optional(),
});
const detokenizeRequest = z.object({
  model: z.string().nullish(),
  tokens: z.array(z.int().min(0)),
});
const token = z.string().nullable();
const infoResponse = z.object({
  bos_token: token,
  eos_token: token,
  pad_token: token,
  unk_token: token,
  model_max_length: z.int(),
  chat_template: z.string().nullable(),
});

export function tokenizerRoutes(services: Services) {
  const { tokenizer, engine } = services;
  const textOf = (id: number | undefined) => (id === undefined ? null : (tokenizer.tokenOf(id) ?? null));
  const tokensOf = (body: z.output<typeof tokenizeRequest>): number[] => {
    const { prompt, messages } = body;
    const hasPrompt = prompt !== null && prompt !== undefined;
    if (messages && !hasPrompt)
      return chatPromptIds(tokenizer, { ...body, messages }, planTools(body, tokenizer.chatTemplate).tools);
    if (hasPrompt && !messages) return tokenizer.encode(prompt, { addSpecialTokens: body.add_special_tokens ?? true });
    throw new ApiError(400, "prompt: give a prompt or messages, one of the two", { param: "prompt" });
  };
  return new Hono<AppEnv>()
    .post(
      "/tokenize",
      describe({
        tag: "Tokenizer",
        summary: "A text or a conversation to ids",
        response: tokenizeResponse,
        errors: [404],
      }),
      jsonBody(tokenizeRequest),
      (c) => {
        const body = c.req.valid("json");
        const adapter = adapterOf(services, body.model ?? services.settings.modelName);
        const tokens = tokensOf(body);
        const answer: z.output<typeof tokenizeResponse> = {
          count: tokens.length,
          max_model_len: contextLength(services, adapter),
          tokens,
          ...(body.return_token_strs ? { token_strs: tokens.map(textOf) } : {}),
        };
        return c.json(answer);
      },
    )
    .post(
      "/detokenize",
      describe({ tag: "Tokenizer", summary: "Ids to their text", response: z.object({ prompt: z.string() }) }),
      jsonBody(detokenizeRequest),
      (c) => {
        const { tokens } = c.req.valid("json");
        const { vocabSize } = engine.info;
        const bad = tokens.find((id) => id >= vocabSize);
        if (bad !== undefined)
          throw new ApiError(400, `tokens: id ${bad} is outside the vocabulary of ${vocabSize}`, { param: "tokens" });
        // Special tokens stay: what is tokenized again must give the same ids.
        return c.json({ prompt: tokenizer.decode(tokens, { skipSpecialTokens: false }) });
      },
    )
    .get(
      "/tokenizer_info",
      describe({ tag: "Tokenizer", summary: "Special tokens, length and chat template", response: infoResponse }),
      (c) => {
        const info: z.output<typeof infoResponse> = {
          bos_token: textOf(tokenizer.bosId),
          eos_token: textOf(tokenizer.eosId),
          pad_token: textOf(tokenizer.padId),
          unk_token: textOf(tokenizer.unkId),
          model_max_length: engine.info.maxLength,
          chat_template: tokenizer.chatTemplate ?? null,
        };
        return c.json(info);
      },
    );
}
