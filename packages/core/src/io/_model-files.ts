/** Which files of a model's repository are needed to run it. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Small files, taken where they exist. */
const small = new Set([
  "config.json",
  "generation_config.json",
  "adapter_config.json",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
]);

/** Weights in order of preference: the first of a row that exists is taken, and the shards it names. */
const weights = [
  ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"],
  ["adapter_model.safetensors", "adapter_model.bin"],
];

export function isWeights(name: string): boolean {
  return weights.flat().includes(name);
}

export interface WantedFiles {
  readonly small: readonly string[];
  /** Whole files of weights. */
  readonly weights: readonly string[];
  /** Indexes of sharded weights, to be read for the names of their shards. */
  readonly indexes: readonly string[];
}

/** What to take of a repository that has `names`. */
export function wantedFiles(names: readonly string[]): WantedFiles {
  const chosen = weights.flatMap((row) => row.find((name) => names.includes(name)) ?? []);
  return {
    small: names.filter((name) => small.has(name) || /^additional_chat_templates\/[\w.-]+\.jinja$/.test(name)),
    weights: chosen.filter((name) => !name.endsWith(".index.json")),
    indexes: chosen.filter((name) => name.endsWith(".index.json")),
  };
}

/** The files beside the weights that make a folder a model: config, tokenizer, chat templates. */
export function companionFiles(folder: string): string[] {
  return wantedFiles(readdirSync(folder)).small.filter((name) => name !== "adapter_config.json");
}

/** Shards that an index names, each once. Undefined if it is no index, or names a file outside its folder. */
export function shardsOf(index: string): string[] | undefined {
  let map: unknown;
  try {
    map = (JSON.parse(index) as { weight_map?: unknown } | null)?.weight_map; // checked below
  } catch {
    return undefined;
  }
  if (typeof map !== "object" || map === null) return undefined;
  const shards = [...new Set(Object.values(map))];
  return shards.every((shard): shard is string => typeof shard === "string" && /^[\w-][\w.-]*$/.test(shard))
    ? shards
    : undefined;
}

/** What a folder lacks to be a model or an adapter; empty if nothing. */
export function missingFiles(folder: string): string[] {
  const has = (name: string): boolean => existsSync(join(folder, name));
  if (!has("config.json") && !has("adapter_config.json")) return ["config.json"];
  const { weights: whole, indexes } = wantedFiles(weights.flat().filter(has));
  if (whole.length > 0) return [];
  const [index] = indexes;
  if (index === undefined) return ["model.safetensors"];
  const shards = shardsOf(readFileSync(join(folder, index), "utf8"));
  return shards ? shards.filter((shard) => !has(shard)) : [index];
}
