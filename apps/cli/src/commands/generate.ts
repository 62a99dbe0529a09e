import { DEFAULT_MAX_SEQUENCES, promptIds, stopCheck } from "@graft/core/generate";
import { readJsonElements } from "@graft/core/data";
import { ConfigError, DataError } from "@graft/core/errors";
import { z } from "zod";
import { defineCommand, UsageError } from "../command.ts";
import { loadModel } from "../load-model.ts";
import { modelOptions } from "../model-options.ts";
import { counter } from "../progress.ts";

const promptSchema = z.union([
  z.string(),
  z.looseObject({ prompt: z.string() }),
  z.looseObject({ text: z.string() }),
  z.looseObject({ ids: z.array(z.int()) }),
  z.looseObject({ prompt_ids: z.array(z.int()) }),
]);

export default defineCommand({
  name: "generate",
  summary: "continue prompts",
  description:
    'Continues prompts given as text, as token ids, or as a file of them: JSONL or a JSON list of strings, {"prompt"}, {"text"} or {"ids"}. ' +
    "A text gets the tokenizer's special tokens in front; ids are taken as they are. The prompts run together, and each gets what it would get alone.",
  examples: [
    'graft generate --model DIR --prompt "Once upon a time"',
    'graft generate --model DIR --adapter lora --prompt "Q: ..." --temperature 0.7 --top-p 0.9 --seed 1',
    "graft generate --model DIR --prompt-ids 1,403,407 --max-new-tokens 32 --json",
    "graft generate --model DIR --file prompts.jsonl --num-beams 4 --json",
  ],
  options: z.object({
    ...modelOptions,
    prompt: z.string().optional().describe("text to continue"),
    promptIds: z.array(z.coerce.number().int()).optional().describe("token ids to continue, for example 1,403,407"),
    file: z.string().optional().describe("JSON or JSONL file of prompts; .gz too"),
    maxNewTokens: z.int().min(1).default(64).describe("new tokens at the most"),
    temperature: z.number().min(0).default(0).describe("0 is greedy"),
    topK: z.int().min(0).default(0).describe("0 is no limit"),
    topP: z.number().min(0).max(1).default(1).describe("1 is no limit"),
    minP: z.number().min(0).max(1).default(0).describe("0 is no limit; a share of the best token's probability"),
    typicalP: z.number().min(0).max(1).default(1).describe("1 is no limit"),
    repetitionPenalty: z.number().positive().default(1).describe("1 is none"),
    noRepeatNgramSize: z.int().min(0).default(0).describe("no n-gram twice, prompt included; 0 is no limit"),
    numBeams: z.int().min(1).default(1).describe("beams of beam search"),
    lengthPenalty: z.number().default(1).describe("of beam search: scores are divided by length to this power"),
    earlyStopping: z
      .boolean()
      .default(false)
      .describe("of beam search: end when as many sequences as beams have ended"),
    numReturnSequences: z.int().min(1).default(1).describe("sequences for each prompt"),
    seed: z.int().min(0).default(0).describe("of sampling"),
    stop: z.array(z.string()).optional().describe("texts that end generation; not with beams"),
    ignoreEos: z.boolean().default(false).describe("go on past end-of-sequence tokens"),
    json: z.boolean().default(false).describe('print {"outputs": [{"ids", "text", "finish_reason"}]}'),
  }),
  async run(o, { print, log, signal }) {
    const given = [o.prompt, o.promptIds, o.file].filter((x) => x !== undefined).length;
    if (given !== 1) throw new UsageError("give one of --prompt, --prompt-ids and --file");
    const stop = (o.stop ?? []).filter((text) => text !== "");
    // transformers, whose beam search this is, knows no texts there: beams of one length end at different places.
    if (stop.length > 0 && o.numBeams > 1) throw new UsageError("--stop and --num-beams exclude each other");
    const prompts =
      o.file !== undefined ? await readPrompts(o.file) : [{ name: "the prompt", prompt: o.prompt ?? o.promptIds! }];
    // A search needs room for all its beams at once.
    const model = await loadModel({ ...o, maxSequences: Math.max(DEFAULT_MAX_SEQUENCES, o.numBeams) });
    try {
      const { tokenizer } = model;
      const decode = (ids: readonly number[]) => tokenizer?.decode(ids) ?? null;
      const requests = prompts.map(({ name, prompt }) => {
        if (typeof prompt === "string" && !tokenizer)
          throw new ConfigError(`${o.model}: has no tokenizer; give --prompt-ids`);
        return {
          name,
          promptIds: tokenizer ? promptIds(prompt, tokenizer) : (prompt as readonly number[]),
          maxNewTokens: o.maxNewTokens,
          temperature: o.temperature,
          topK: o.topK,
          topP: o.topP,
          minP: o.minP,
          typicalP: o.typicalP,
          repetitionPenalty: o.repetitionPenalty,
          noRepeatNgramSize: o.noRepeatNgramSize,
          numBeams: o.numBeams,
          lengthPenalty: o.lengthPenalty,
          earlyStopping: o.earlyStopping,
          numReturnSequences: o.numReturnSequences,
          seed: o.seed,
          ...(o.ignoreEos ? { eosTokenIds: [] } : {}),
          ...(tokenizer ? stopCheck(stop, tokenizer) : {}),
        };
      });
      const show = counter("generating: prompt", log);
      let done = 0;
      const results = await model.generator.generate(requests, model.weights, {
        signal,
        onResult: () => requests.length > 1 && show(++done, requests.length),
      });
      const outputs = results.flat().map((s) => ({
        ids: s.ids,
        text: cut(decode(s.ids), stop),
        finish_reason: s.finishReason,
        ...(s.score === undefined ? {} : { score: s.score }),
      }));
      if (o.json) print(JSON.stringify({ outputs }));
      else for (const output of outputs) print(output.text ?? output.ids.join(","));
      return 0;
    } finally {
      await model.close();
    }
  },
});

function cut(text: string | null, stop: readonly string[]): string | null {
  const at = stop.flatMap((word) => (text?.includes(word) ? [text.indexOf(word)] : []));
  return text !== null && at.length > 0 ? text.slice(0, Math.min(...at)) : text;
}

/** Prompts of a JSON or JSONL file, plain or gzipped, with the line each is on. Throws DataError naming file and line. */
export async function readPrompts(path: string): Promise<{ name: string; prompt: string | readonly number[] }[]> {
  return (await readJsonElements(path)).map(({ value, line, index }) => {
    const name = `${path}: line ${line}: entry ${index + 1}`;
    const { data: entry, success } = promptSchema.safeParse(value);
    if (!success) throw new DataError(`${name} must be a string, {"prompt"}, {"text"} or {"ids"}`);
    if (typeof entry === "string") return { name, prompt: entry };
    if ("prompt" in entry) return { name, prompt: entry.prompt as string };
    if ("text" in entry) return { name, prompt: entry.text as string };
    return { name, prompt: ("ids" in entry ? entry.ids : entry.prompt_ids) as number[] };
  });
}
