/** A byte-level BPE tokenizer (Sennrich et al. 2016, arXiv:1508.07909) trained on a text, written as a Hugging Face tokenizer.json. */

/** GPT-2's printable stand-ins for bytes: visible characters are themselves, the rest moves up from U+0100. */
function byteCharacters(): string[] {
  const isVisible = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(isVisible(b) ? b : next++));
}

const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
export const SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"] as const;

export interface TrainedTokenizer {
  readonly tokenizer: object;
  readonly config: object;
  readonly vocabSize: number;
}

/** Merges the most frequent pair (the first in alphabetical order among equals) until `vocabSize` tokens are there or no pair occurs twice. */
export function trainTokenizer(lines: Iterable<string>, vocabSize: number): TrainedTokenizer {
  const characters = byteCharacters();
  const toCharacters = (word: string) => Array.from(new TextEncoder().encode(word), (byte) => characters[byte]!);
  const counts = new Map<string, number>();
  for (const line of lines) for (const [word] of line.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const words = [...counts]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([word, count]) => ({ parts: toCharacters(word), count }));
  const vocab = new Map<string, number>();
  for (const token of [...SPECIAL, ...characters]) vocab.set(token, vocab.size);
  const merges: [string, string][] = [];
  while (vocab.size < vocabSize) {
    const best = mostFrequentPair(words);
    if (!best) break;
    merges.push(best);
    vocab.set(best.join(""), vocab.size);
    for (const word of words) word.parts = mergePair(word.parts, best);
  }
  return { tokenizer: tokenizerJson(vocab, merges), config: tokenizerConfig, vocabSize: vocab.size };
}

function mostFrequentPair(
  words: readonly { readonly parts: readonly string[]; readonly count: number }[],
): [string, string] | undefined {
  const pairs = new Map<string, { pair: [string, string]; count: number }>();
  for (const { parts, count } of words) {
    for (let i = 0; i + 1 < parts.length; i++) {
      const key = `${parts[i]} ${parts[i + 1]}`;
      const known = pairs.get(key);
      if (known) known.count += count;
      else pairs.set(key, { pair: [parts[i]!, parts[i + 1]!], count });
    }
  }
  const ranked = [...pairs].toSorted(([a, x], [b, y]) => y.count - x.count || (a < b ? -1 : 1));
  const first = ranked[0]?.[1];
  return first && first.count > 1 ? first.pair : undefined;
}

function mergePair(parts: readonly string[], [a, b]: readonly [string, string]): string[] {
  const out: string[] = [];
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === a && parts[i + 1] === b) {
      out.push(a + b);
      i++;
    } else out.push(parts[i]!);
  }
  return out;
}

const tokenizerConfig = {
  tokenizer_class: "PreTrainedTokenizerFast",
  bos_token: "<s>",
  eos_token: "</s>",
  pad_token: "<pad>",
  unk_token: "<unk>",
  add_bos_token: true,
  add_eos_token: false,
  clean_up_tokenization_spaces: false,
  model_max_length: 256,
  chat_template:
    "{% for message in messages %}{% if message['role'] == 'user' %}Q: {{ message['content'] }}\nA:{% elif message['role'] == 'assistant' %} {{ message['content'] }}\n{% endif %}{% endfor %}",
};

function tokenizerJson(vocab: ReadonlyMap<string, number>, merges: readonly (readonly [string, string])[]): object {
  const special = SPECIAL.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special,
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [
        { SpecialToken: { id: "<s>", type_id: 0 } },
        { Sequence: { id: "A", type_id: 0 } },
        { Sequence: { id: "B", type_id: 1 } },
      ],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab),
      merges: merges.map(([a, b]) => `${a} ${b}`),
    },
  };
}
