/** POST /tokenize and /detokenize, as vLLM has them. */
import { Hono } from "hono";
import { z } from "zod";
import { readBody } from "../body.ts";
import type { Services } from "../services.ts";

const tokenizeSchema = z.looseObject({ prompt: z.string(), add_special_tokens: z.boolean().nullish() });
const detokenizeSchema = z.looseObject({ tokens: z.array(z.int().min(0)) });

export function tokenizerRoutes({ tokenizer, engine }: Services) {
  return new Hono()
    .post("/tokenize", async (c) => {
      const body = await readBody(c, tokenizeSchema);
      const tokens = tokenizer.encode(body.prompt, { addSpecialTokens: body.add_special_tokens ?? true });
      return c.json({ count: tokens.length, max_model_len: engine.info.maxLength, tokens });
    })
    .post("/detokenize", async (c) => {
      const { tokens } = await readBody(c, detokenizeSchema);
      return c.json({ prompt: tokenizer.decode(tokens) });
    });
}
