/** ChatGLM2's forward pass in plain float64, written from its published description and sharing nothing with the model file. */
import { openCheckpoint, toFloat32 } from "../src/io/index.ts";

interface Config {
  readonly hidden_size: number;
  readonly num_layers: number;
  readonly num_attention_heads: number;
  readonly kv_channels: number;
  readonly ffn_hidden_size: number;
  readonly multi_query_attention?: boolean;
  readonly multi_query_group_num?: number;
  readonly rmsnorm?: boolean;
  readonly apply_residual_connection_post_layernorm?: boolean;
  readonly rope_ratio?: number;
}
type Vector = readonly number[];

const plus = (a: Vector, b: Vector): number[] => a.map((x, i) => x + b[i]!);
const sum = (x: Vector): number => x.reduce((a, b) => a + b, 0);

/** Rotates the pairs (0, 1), (2, 3), ... of the first half of a head. */
function turn(head: Vector, position: number, base: number): number[] {
  const half = head.length / 2;
  return head.map((x, i) => {
    if (i >= half) return x;
    const angle = position * base ** (-(i - (i % 2)) / half);
    const partner = head[i % 2 === 0 ? i + 1 : i - 1]!;
    return x * Math.cos(angle) + (i % 2 === 0 ? -1 : 1) * partner * Math.sin(angle);
  });
}

/** Logits after the last of `ids`. */
export function chatGlmLogits(folder: string, config: object, ids: Vector): number[] {
  const c = config as Config;
  const file = openCheckpoint(folder);
  const get = (name: string): number[] | undefined =>
    file.has(name) ? [...toFloat32(file.read(name), file.info(name).dtype, name)] : undefined;
  const linear = (name: string, x: Vector): number[] => {
    const [weight, bias] = [get(`${name}.weight`)!, get(`${name}.bias`)];
    return Array.from(
      { length: weight.length / x.length },
      (_, row) => sum(x.map((value, i) => value * weight[row * x.length + i]!)) + (bias?.[row] ?? 0),
    );
  };
  const norm = (name: string, x: Vector): number[] => {
    const [weight, bias] = [get(`${name}.weight`)!, get(`${name}.bias`)];
    const mean = c.rmsnorm === false ? sum(x) / x.length : 0;
    const deviation = Math.sqrt(sum(x.map((value) => (value - mean) ** 2)) / x.length + 1e-5);
    return x.map((value, i) => ((value - mean) / deviation) * weight[i]! + (bias?.[i] ?? 0));
  };
  const { num_attention_heads: heads, kv_channels: dim } = c;
  const groups = c.multi_query_attention ? c.multi_query_group_num! : heads;
  const base = 10_000 * (c.rope_ratio ?? 1);
  /** Heads of the fused projection: `part` 0, 1, 2 for query, key, value. */
  const headOf = (fused: Vector, part: number, index: number): number[] => {
    const start = c.multi_query_attention
      ? [index, heads + index, heads + groups + index][part]! * dim
      : (index * 3 + part) * dim;
    return fused.slice(start, start + dim);
  };

  const table = get("transformer.embedding.word_embeddings.weight")!;
  let xs: number[][] = ids.map((id) => table.slice(id * c.hidden_size, (id + 1) * c.hidden_size));
  for (let layer = 0; layer < c.num_layers; layer++) {
    const at = `transformer.encoder.layers.${layer}`;
    const normed = xs.map((x) => norm(`${at}.input_layernorm`, x));
    const fused = normed.map((x) => linear(`${at}.self_attention.query_key_value`, x));
    xs = xs.map((x, p) => {
      const attended = Array.from({ length: heads }, (_, h) => {
        const group = Math.floor(h / (heads / groups));
        const q = turn(headOf(fused[p]!, 0, h), p, base);
        const weights = Array.from({ length: p + 1 }, (__, j) => {
          const k = turn(headOf(fused[j]!, 1, group), j, base);
          return Math.exp(sum(q.map((value, i) => value * k[i]!)) / Math.sqrt(dim));
        });
        const total = sum(weights);
        return Array.from({ length: dim }, (__, i) =>
          sum(weights.map((w, j) => (w / total) * headOf(fused[j]!, 2, group)[i]!)),
        );
      }).flat();
      const afterNorm = c.apply_residual_connection_post_layernorm ?? false;
      const middle = plus(afterNorm ? normed[p]! : x, linear(`${at}.self_attention.dense`, attended));
      const again = norm(`${at}.post_attention_layernorm`, middle);
      const both = linear(`${at}.mlp.dense_h_to_4h`, again);
      const n = c.ffn_hidden_size;
      const gated = both.slice(0, n).map((g, i) => (g / (1 + Math.exp(-g))) * both[n + i]!);
      return plus(afterNorm ? again : middle, linear(`${at}.mlp.dense_4h_to_h`, gated));
    });
  }
  const last = norm("transformer.encoder.final_layernorm", xs.at(-1)!);
  const logits = linear("transformer.output_layer", last);
  file.close();
  return logits;
}
