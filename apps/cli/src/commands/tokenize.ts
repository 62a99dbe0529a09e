import { readJson } from "@graft/core/io";
import { loadTokenizer } from "@graft/core/text";
import { z } from "zod";
import { defineCommand, UsageError } from "../command.ts";
import { resolveModelFolder } from "../resolve-model.ts";

const list = z.array(z.union([z.string(), z.looseObject({ text: z.string() }).transform((item) => item.text)]));
const fileSchema = z.union([
  list,
  z.looseObject({ strings: list }).transform((file) => file.strings),
  z.looseObject({ items: list }).transform((file) => file.items),
]);

export default defineCommand({
  name: "tokenize",
  summary: "token ids of texts",
  description:
    "Encodes texts with the tokenizer of a model folder. Nothing is put around a text unless asked for. The text of a special token, such as </s>, is read as the " +
    "tokenizer's original implementation reads it: as text by SentencePiece and OpenAI's GPT-2 encoder, as the token by other tokenizers.",
  positional: { syntax: "[text...]", description: "texts, each encoded on its own" },
  examples: [
    'graft tokenize --tokenizer DIR "Once upon a time"',
    "graft tokenize --tokenizer DIR --file strings.json --json",
  ],
  options: z.object({
    tokenizer: z.string().describe("folder with tokenizer.json or tokenizer.model, or a hub name"),
    file: z.string().optional().describe('JSON: a list of texts, or {"strings": [...]}'),
    addSpecialTokens: z.boolean().default(false).describe("add what belongs around a whole text"),
    parseSpecial: z
      .boolean()
      .optional()
      .describe("read the text of special tokens as tokens, or (--no-parse-special) as text"),
    json: z.boolean().default(false).describe('print {"items": [{"text", "ids"}]}'),
  }),
  async run(o, { positionals, print }) {
    const texts = [...(o.file === undefined ? [] : readJson(o.file, fileSchema)), ...positionals];
    if (o.file === undefined && texts.length === 0) throw new UsageError("nothing to encode: give texts, or --file");
    const tokenizer = loadTokenizer(await resolveModelFolder(o.tokenizer, { weights: false }));
    const parseSpecial = o.parseSpecial ?? tokenizer.specialsInText === "tokens";
    const items = texts.map((text) => ({
      text,
      ids: tokenizer.encode(text, { addSpecialTokens: o.addSpecialTokens, parseSpecial }),
    }));
    if (o.json) print(JSON.stringify({ items }));
    else
      for (const { ids } of items) print(ids.map((id) => `${id}\t${JSON.stringify(tokenizer.tokenOf(id))}`).join("\n"));
    return 0;
  },
});
