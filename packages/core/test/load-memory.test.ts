import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, openSync, closeSync, ftruncateSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { modelFor } from "../src/models/index.ts";
import { tinyConfig } from "./tiny-model.ts";

/** A folder of two shards in f16, all zeros: files with holes, which take no room on the disk. Returns the bytes of the weights. */
function writeHollowModel(folder: string, config: object): number {
  const definition = modelFor("llama", "hollow");
  const parameters = definition.parameters(definition.parseConfig(config, "hollow"));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const weightMap: Record<string, string> = {};
  let total = 0;
  for (const shard of [0, 1]) {
    const file = `model-0000${shard + 1}-of-00002.safetensors`;
    const header: Record<string, object> = {};
    let end = 0;
    for (const { name, shape } of parameters.filter((_, i) => i % 2 === shard)) {
      const begin = end;
      end += 2 * shape.reduce((a, b) => a * b, 1);
      header[name] = { dtype: "F16", shape, data_offsets: [begin, end] };
      weightMap[name] = file;
    }
    const text = JSON.stringify(header);
    const json = text.padEnd(Math.ceil(text.length / 8) * 8);
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(json.length), true);
    const descriptor = openSync(join(folder, file), "w");
    writeSync(descriptor, length);
    writeSync(descriptor, json);
    ftruncateSync(descriptor, 8 + json.length + end);
    closeSync(descriptor);
    total += end;
  }
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: weightMap }));
  return total;
}

test.skipIf(process.platform !== "linux")(
  "loading holds pieces of the weights on the host, not a second copy, however large a single tensor is",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "hollow-"));
    const config = { ...tinyConfig, vocab_size: 400_000, hidden_size: 256, tie_word_embeddings: true };
    const bytes = writeHollowModel(folder, config); // 205 MB, nearly all of them in one tensor
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "fixtures/load-memory.ts"), folder], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const held = Number(await new Response(child.stdout).text());
    expect(await child.exited).toBe(0);
    expect(held).toBeLessThan(bytes / 2);
    rmSync(folder, { recursive: true });
  },
);
