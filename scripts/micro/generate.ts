/**
 * Writes the micro world's data: `bun scripts/micro/generate.ts [--seed 1]`.
 * models/data/: micro-math and micro-common problems; models/graft-micro-llama/: tokenizer. The corpus itself is made anew where it is needed.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeFileAtomic } from "../../packages/core/src/io/index.ts";
import { Random } from "../../packages/core/src/random/index.ts";
import { stories } from "./corpus.ts";
import { microCommon, microMath, type Problem } from "./problems.ts";
import { trainTokenizer } from "./tokenizer.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    out: { type: "string", default: join(import.meta.dir, "../../models") },
  },
});
const seed = Number(values.seed);
const data = join(values.out, "data");
mkdirSync(data, { recursive: true });

const rows = (problems: readonly Problem[]) => `[\n${problems.map((p) => JSON.stringify(p)).join(",\n")}\n]\n`;
for (const [name, make] of [
  ["micro-math", microMath],
  ["micro-common", microCommon],
] as const) {
  writeFileAtomic(join(data, `${name}-train.json`), [rows(make(seed, name === "micro-math" ? 2000 : 600, "train"))]);
  writeFileAtomic(join(data, `${name}-test.json`), [rows(make(seed, name === "micro-math" ? 200 : 100, "test"))]);
}

// Problems are in the tokenizer's text too, so that a question costs as few tokens as a story; the model never sees them before an adapter does.
const text = [
  ...stories(new Random(seed, 1), 20_000),
  ...[...microMath(seed, 2000, "train"), ...microCommon(seed, 600, "train")].map(
    (p) => `Q: ${p.instruction}\nA: ${p.output}`,
  ),
];
const { tokenizer, config, vocabSize } = trainTokenizer(text, 512);
const folder = join(values.out, "graft-micro-llama");
mkdirSync(folder, { recursive: true });
writeFileAtomic(join(folder, "tokenizer.json"), [`${JSON.stringify(tokenizer)}\n`]);
writeFileAtomic(join(folder, "tokenizer_config.json"), [`${JSON.stringify(config, null, 2)}\n`]);
console.error(`vocabulary of ${vocabSize} tokens; data in ${data}`);
