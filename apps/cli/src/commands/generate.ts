import { promptIds } from "@graft/core/generate";
import { ConfigError, DataError } from "@graft/core/errors";
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { defineCommand, UsageError } from "../command.ts";
import { loadModel } from "../load-model.ts";
import { modelOptions } from "../model-options.ts";
import { counter } from "../progress.ts";

const line = z.union([
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
    file: z.string().optional().describe("file of prompts"),
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
    const prompts = o.file !== undefined ? readPrompts(o.file) : [o.prompt ?? o.promptIds!];
    const model = await loadModel(o);
    try {
      const { tokenizer } = model;
      const decode = (ids: readonly number[]) => tokenizer?.decode(ids) ?? null;
      const requests = prompts.map((prompt) => {
        if (typeof prompt === "string" && !tokenizer)
          throw new ConfigError(`${o.model}: has no tokenizer; give --prompt-ids`);
        return {
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
          ...(stop.length > 0
            ? { shouldStop: (ids: readonly number[]) => stop.some((text) => decode(ids)?.includes(text)) }
            : {}),
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

/** Prompts of a JSONL file, or of a JSON list. Throws DataError naming file and line. */
export function readPrompts(path: string): (string | readonly number[])[] {
  if (!existsSync(path)) throw new DataError(`${path}: no such file`);
  const text = readFileSync(path, "utf8").trim();
  if (text === "") throw new DataError(`${path}: is empty`);
  const lines: [string, unknown][] = [];
  try {
    const whole: unknown = JSON.parse(text);
    for (const [i, entry] of (Array.isArray(whole) ? whole : [whole]).entries()) lines.push([`entry ${i}`, entry]);
  } catch {
    for (const [i, source] of text.split("\n").entries()) {
      if (source.trim() === "") continue;
      try {
        lines.push([`line ${i + 1}`, JSON.parse(source)]);
      } catch (cause) {
        throw new DataError(`${path}: line ${i + 1} is not valid JSON`, { cause });
      }
    }
  }
  return lines.map(([where, value]) => {
    const parsed = line.safeParse(value);
    if (!parsed.success) throw new DataError(`${path}: ${where} must be a string, {"prompt"}, {"text"} or {"ids"}`);
    const entry = parsed.data;
    if (typeof entry === "string") return entry;
    if ("prompt" in entry) return entry.prompt as string;
    if ("text" in entry) return entry.text as string;
    return ("ids" in entry ? entry.ids : entry.prompt_ids) as number[];
  });
}
