/** POST /tokenize and /detokenize, GET /tokenizer_info, as vLLM has them and lm-evaluation-harness's remote tokenizer asks them. */
import { Hono } from "hono";
import { z } from "zod";
import { readBody } from "../body.ts";
import { ApiError } from "../errors.ts";
import { adapterOf, contextLength } from "../generation.ts";
import type { Services } from "../services.ts";

const tokenizeSchema = z.looseObject({
  /** The base or an adapter: virtual tokens leave it a shorter context. */
  model: z.string().nullish(),
  prompt: z.string(),
  add_special_tokens: z.boolean().nullish(),
  return_token_strs: z.boolean().nullish(),
});
const detokenizeSchema = z.looseObject({ tokens: z.array(z.int().min(0)) });

export function tokenizerRoutes(services: Services) {
  const { tokenizer, engine } = services;
  const textOf = (id: number | undefined) => (id === undefined ? null : (tokenizer.tokenOf(id) ?? null));
  return new Hono()
    .post("/tokenize", async (c) => {
      const body = await readBody(c, tokenizeSchema);
      const adapter = adapterOf(services, body.model ?? services.modelName);
      const tokens = tokenizer.encode(body.prompt, { addSpecialTokens: body.add_special_tokens ?? true });
      return c.json({
        count: tokens.length,
        max_model_len: contextLength(services, adapter),
        tokens,
        ...(body.return_token_strs ? { token_strs: tokens.map(textOf) } : {}),
      });
    })
    .post("/detokenize", async (c) => {
      const { tokens } = await readBody(c, detokenizeSchema);
      const { vocabSize } = engine.info;
      const bad = tokens.find((id) => id >= vocabSize);
      if (bad !== undefined)
        throw new ApiError(400, `tokens: id ${bad} is outside the vocabulary of ${vocabSize}`, { param: "tokens" });
      // Special tokens stay: what is tokenized again must give the same ids.
      return c.json({ prompt: tokenizer.decode(tokens, { skipSpecialTokens: false }) });
    })
    .get("/tokenizer_info", (c) =>
      c.json({
        bos_token: textOf(tokenizer.bosId),
        eos_token: textOf(tokenizer.eosId),
        pad_token: textOf(tokenizer.padId),
        unk_token: textOf(tokenizer.unkId),
        model_max_length: engine.info.maxLength,
        chat_template: tokenizer.chatTemplate ?? null,
      }),
    );
}
