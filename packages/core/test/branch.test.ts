/** Residual blocks as sites: where they are, and what a hook around one sees. */
import { expect, test } from "bun:test";
import { Graph, interpret, type Tensor } from "../src/graph/index.ts";
import { modelFor, sitesOf } from "../src/models/index.ts";
import { type Hooks, ModelContext } from "../src/nn/index.ts";
import { add, scale } from "../src/ops/index.ts";
import { tinyConfig } from "./tiny-model.ts";

test("a llama's blocks are sites under their module paths, each before the layers inside", () => {
  const definition = modelFor("llama", "test");
  const sites = sitesOf({ definition, config: definition.parseConfig(tinyConfig, "test") });
  const branches = sites.filter((site) => site.kind === "branch");
  expect(branches.map(({ name, branch, width, layer }) => [name, branch, width, layer])).toEqual([
    ["model.layers.0.self_attn", "attention", 32, 0],
    ["model.layers.0.mlp", "mlp", 32, 0],
    ["model.layers.1.self_attn", "attention", 32, 1],
    ["model.layers.1.mlp", "mlp", 32, 1],
  ]);
  const names = sites.map((site) => site.name);
  expect(names.indexOf("model.layers.1.mlp")).toBe(names.indexOf("model.layers.1.mlp.gate_proj") - 1);
});

test("hooks around a block nest, the first innermost, and see its input, its output and the residual stream", () => {
  const graph = new Graph();
  const input = (name: string): Tensor => graph.input(name, [1, 2]);
  const hooks: Hooks[] = [
    { branch: (_site, x, f, residual) => add(f(scale(x, 10)), residual) },
    { branch: (_site, x, f) => scale(f(x), 3) },
  ];
  const m = new ModelContext({
    graph,
    hooks,
    dtypeOf: () => "f32",
    shapeOf: () => [],
    attention: (_layer, q) => q,
    ids: graph.input("ids", [1], "i32"),
    positions: graph.input("positions", [1], "i32"),
    maxLength: 1,
  });
  const y = m.branch("block", "mlp", input("x"), (x) => scale(x, 2), input("residual"));
  const [values] = interpret(graph, [y], { inputs: { x: [1, -2], residual: [100, 1000] } });
  expect([...values!]).toEqual([3 * (20 + 100), 3 * (-40 + 1000)]);
});
