import { promptIds } from "@graft/core/generate";
import { ConfigError } from "@graft/core/errors";
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { loadModel } from "../load-model.ts";
import { modelOptions } from "../model-options.ts";
import { counter } from "../progress.ts";
import { readPrompts } from "./generate.ts";

export default defineCommand({
  name: "score",
  summary: "log-likelihood of each token of given texts",
  description:
    'Reads {"ids"} or {"text"}, a JSON list or JSONL, and gives the natural-log probability of every token after the first. A text gets the tokenizer\'s special tokens ' +
    "in front, so that its own first token has one too; ids are taken as they are.",
  examples: [
    "graft score --model DIR --file texts.json --json",
    "graft score --model DIR --adapter lora --file texts.jsonl",
  ],
  options: z.object({
    ...modelOptions,
    file: z.string().describe("texts or token ids to score"),
    json: z.boolean().default(false).describe('print {"items": [{"ids", "logprobs"}]}'),
  }),
  async run(o, { print, log, signal }) {
    const entries = await readPrompts(o.file);
    const model = await loadModel(o);
    try {
      const sequences = entries.map(({ prompt }) => {
        if (typeof prompt === "string" && !model.tokenizer)
          throw new ConfigError(`${o.model}: has no tokenizer; give ids`);
        return model.tokenizer ? promptIds(prompt, model.tokenizer) : [...(prompt as readonly number[])];
      });
      const show = counter("scoring: text", log);
      let done = 0;
      const scored = await model.generator.score(sequences, model.weights, {
        signal,
        names: entries.map((entry) => entry.name),
        onResult: () => sequences.length > 1 && show(++done, sequences.length),
      });
      if (o.json) {
        print(JSON.stringify({ items: scored.map(({ logprobs }, i) => ({ ids: sequences[i], logprobs })) }));
        return 0;
      }
      for (const [i, { logprobs }] of scored.entries()) {
        const sum = logprobs.reduce((a, b) => a + b, 0);
        const perplexity = Math.exp(-sum / Math.max(1, logprobs.length));
        print(`${i}\t${logprobs.length} tokens\tsum ${sum.toFixed(4)}\tperplexity ${perplexity.toFixed(3)}`);
      }
      return 0;
    } finally {
      await model.close();
    }
  },
});
