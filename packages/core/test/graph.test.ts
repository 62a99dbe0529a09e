import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ShapeError } from "../src/errors/index.ts";
import { Arena, grad, Graph, interpret, liveNodes, plan, Program } from "../src/graph/index.ts";
import { fuse } from "../src/graph/fuse.ts";
import { recompute } from "../src/graph/recompute.ts";
import { fullParameters, loadBaseModel, traceModelOf, traceSequences } from "../src/models/index.ts";
import { add, matmul, mul, scaledSumOf } from "../src/ops/index.ts";
import { Random } from "../src/random/index.ts";
import { expectClose } from "../../kernels/test/close.ts";
import { writeTinyModel } from "./tiny-model.ts";

let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.close());

test("a tensor used twice gets the sum of both gradients", () => {
  const graph = new Graph();
  const x = graph.param("x", [3]);
  const loss = scaledSumOf(add(mul(x, x), x), graph.param("one", [1]));
  const [dx] = grad(loss, [x]);
  const [values] = interpret(graph, [dx!], { params: { x: Float64Array.of(1, 2, 3), one: Float64Array.of(1) } });
  expect([...values!]).toEqual([3, 5, 7]);
});

test("a frozen weight gets no gradient nodes", () => {
  const graph = new Graph();
  const x = graph.param("x", [4, 3]);
  const frozen = graph.param("w", [5, 3]);
  const loss = scaledSumOf(matmul(x, frozen, { transB: true }), graph.param("one", [1]));
  const before = graph.nodes.length;
  grad(loss, [x]);
  const added = graph.nodes.slice(before).filter((node) => node.op.name === "matmul");
  expect(added.length).toBe(1);
});

test("what nothing reads is not run", () => {
  const graph = new Graph();
  const x = graph.param("x", [2]);
  const used = mul(x, x);
  add(x, x);
  expect(liveNodes(graph, [used]).length).toBe(1);
});

test("values that never live at once share memory", () => {
  const graph = new Graph();
  let x = mul(graph.param("a", [1024]), graph.param("b", [1024]));
  for (let i = 0; i < 10; i++) x = mul(x, graph.param("b", [1024]));
  expect(plan(graph, [x], device.capabilities).bytes.arena).toBe(2 * 4096);
});

test("shapes that do not fit are named", () => {
  const graph = new Graph();
  const a = graph.param("a", [2, 3]);
  expect(() => matmul(a, graph.param("b", [4, 5]))).toThrow("matmul: inner sizes differ, a is [2,3], b is [4,5]");
  expect(() => add(a, graph.param("c", [3, 2]))).toThrow(ShapeError);
  expect(() => graph.param("a", [9])).toThrow("param a is [9] f32 here, was [2,3] f32 before");
});

test("a weight over the binding limit is split by rows, forward and backward", async () => {
  const small = await openDevice({ limits: { maxStorageBufferBindingSize: 1024 } });
  try {
    const [rows, inner, outer] = [3, 16, 40]; // 40 x 16 x 4 bytes = 2560
    const graph = new Graph();
    const x = graph.param("x", [rows, inner]);
    const w = graph.param("w", [outer, inner]);
    const y = matmul(x, w, { transB: true });
    const back = matmul(y, w);
    const random = new Random(3);
    const host = {
      x: Float64Array.from({ length: rows * inner }, () => Math.fround(random.normal())),
      w: Float64Array.from({ length: outer * inner }, () => Math.fround(random.normal())),
    };
    const buffers = Object.fromEntries(
      Object.entries(host).map(([name, values]) => {
        const buffer = small.createBuffer(values.length * 4, name);
        small.write(buffer, Float32Array.from(values));
        return [name, buffer];
      }),
    );
    const made = plan(graph, [y, back], small.capabilities);
    expect(made.calls.filter((call) => call.kernel.name === "matmul").length).toBeGreaterThan(4);
    const program = await Program.bind(small, new Arena(small), made, (name) => buffers[name]!, "split");
    const got = await program.run({});
    const want = interpret(graph, [y, back], { params: host });
    for (const [i, values] of want.entries()) expectClose(got[i]!, values, { atol: 1e-3, rtol: 1e-4 }, `output ${i}`);
    program.destroy();
  } finally {
    await small.close();
  }
});

test("recomputing layers changes no number and takes less memory", () => {
  const folder = writeTinyModel(mkdtempSync(join(tmpdir(), "tiny-")), { config: { num_hidden_layers: 4 } });
  const model = loadBaseModel(device, folder);
  const full = fullParameters(model.definition, model.config);
  const trace = traceSequences(traceModelOf(model), { batch: 2, length: 16 }, { adapter: full, training: true });
  const parameters = full.parameters.map(({ key, shape }) => trace.graph.param(`adapter/0/${key}`, shape));
  const gradients = grad(trace.loss, parameters);
  const again = recompute(trace.graph, [trace.loss, ...gradients]);
  const random = new Random(5);
  const params = Object.fromEntries(
    full.parameters.map(({ key, shape }) => [
      `adapter/0/${key}`,
      Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 0.2 * random.normal()),
    ]),
  );
  const ids = Int32Array.from({ length: 32 }, () => random.int(96));
  const inputs = {
    ids,
    positions: Int32Array.from(ids, (_, i) => i % 16),
    segments: new Int32Array(32).fill(1),
    labels: ids,
    lossScale: [1 / 32],
    seed: [1, 1],
  };
  const plain = interpret(trace.graph, [trace.loss, ...gradients], { inputs, params });
  const recomputed = interpret(again.graph, again.outputs, { inputs, params });
  for (const [i, values] of plain.entries()) expect(recomputed[i]).toEqual(values);
  const bytes = (graph: Graph, outputs: typeof gradients) => plan(graph, outputs, device.capabilities).bytes.arena;
  expect(bytes(again.graph, again.outputs)).toBeLessThan(bytes(trace.graph, [trace.loss, ...gradients]));
  model.destroy();
});

test("a sum with a fresh product becomes part of it, and says the same", async () => {
  const graph = new Graph();
  const [x, w] = [graph.param("x", [4, 6]), graph.param("w", [6, 6])];
  const y = add(x, matmul(x, w, { transB: true, scale: 0.5 }));
  const shared = matmul(y, w);
  const outputs = [add(shared, y), shared];
  const made = fuse(graph, outputs);
  // The second product is read twice: it stays as it is.
  expect(made.graph.nodes.map((node) => node.op.name)).toEqual(["matmul", "matmul", "add"]);
  const params = {
    x: Float64Array.from({ length: 24 }, (_, i) => Math.sin(i)),
    w: Float64Array.from({ length: 36 }, (_, i) => Math.cos(i)),
  };
  const [plain, fused] = [interpret(graph, outputs, { params }), interpret(made.graph, made.outputs, { params })];
  for (const [i, values] of plain.entries()) expectClose(fused[i]!, values, { atol: 1e-12, rtol: 0 }, `output ${i}`);
});
