/** What core does for virtual tokens, without any method that has them. */
import { expect, test } from "bun:test";
import { applyProcessors, processorsFor } from "../src/generate/index.ts";
import { Graph, interpret, type Tensor } from "../src/graph/index.ts";
import { type Hooks, ModelContext, virtualIdsOf, virtualRows } from "../src/nn/index.ts";
import { add, scale } from "../src/ops/index.ts";

const adapter = { method: "test", parameters: [], hooks: () => ({}) };

test("ids of virtual tokens are negative, and lead back to rows of a table", () => {
  expect(virtualIdsOf(undefined)).toEqual([]);
  expect(virtualIdsOf(adapter)).toEqual([]);
  const ids = [...virtualIdsOf({ ...adapter, virtualTokens: 3 }), 0, 96];
  expect(ids).toEqual([-1, -2, -3, 0, 96]);
  const graph = new Graph();
  const [rows] = interpret(graph, [virtualRows(graph.input("ids", [5], "i32"))], { inputs: { ids } });
  expect([...rows!]).toEqual([0, 1, 2, -1, -97]);
});

test("processors see the vocabulary's tokens alone", () => {
  const run = (ids: readonly number[]) => {
    const scores = Float64Array.of(1, 2, -3, 4);
    const options = { maxNewTokens: 1, repetitionPenalty: 2, noRepeatNgramSize: 2, frequencyPenalty: 1 };
    applyProcessors(processorsFor(options, 1), scores, ids);
    return scores;
  };
  expect(run([-1, -2, 3, 0, 3])).toEqual(run([3, 0, 3]));
  expect(Object.keys(run([-1, -2, 3]))).toEqual(["0", "1", "2", "3"]);
});

test("keys and values pass through the hooks in order, with the ids of their rows, before attention has them", () => {
  const graph = new Graph();
  const input = (name: string): Tensor => graph.input(name, [1, 1, 1]);
  const seen: Tensor[] = [];
  const hooks: Hooks[] = [
    { keysValues: (layer, k, v, ids) => (seen.push(ids), { k: scale(k, 10 + layer), v }) },
    {},
    { keysValues: (_layer, k, v) => ({ k: add(k, k), v: scale(v, 3) }) },
  ];
  const ids = graph.input("ids", [1], "i32");
  const m = new ModelContext({
    graph,
    hooks,
    dtypeOf: () => "f32",
    shapeOf: () => [],
    attention: (_layer, q, k, v) => add(q, add(k, v)),
    ids,
    positions: graph.input("positions", [1], "i32"),
    maxLength: 1,
  });
  const y = m.attention(2, input("q"), input("k"), input("v"), { scale: 1, window: 0 });
  expect(seen).toEqual([ids]);
  expect([...interpret(graph, [y], { inputs: { q: [1000], k: [1], v: [100] } })[0]!]).toEqual([1000 + 2 * 12 + 300]);
});
