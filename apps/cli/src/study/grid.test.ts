import { afterAll, expect, test } from "bun:test";
import { openBaseFolder } from "@graft/adapters";
import { join } from "node:path";
import { cellsOf } from "./grid.ts";
import { labelCells } from "./labels.ts";
import { parseStudy } from "./schema.ts";

const models = join(import.meta.dir, "../../../../models");
const names = ["graft-micro-llama", "graft-micro-bloom"];
const opened = names.map((name) => openBaseFolder(join(models, name)));
afterAll(() => {
  for (const base of opened) base.close();
});
const bases = new Map(names.map((name, i) => [name, opened[i]!]));

function grid(variants: readonly object[], rest: object = {}) {
  const study = parseStudy(
    {
      name: "s",
      models: names,
      tasks: ["a", "b"].map((name) => ({ name, train: `${name}.json`, eval: "micro-math" })),
      variants,
      ...rest,
    },
    "s.yaml",
  );
  return labelCells(cellsOf(study, bases, "s.yaml"));
}

test("every list spans the grid, for every model, task and seed; models come one after the other", () => {
  const cells = grid(
    [
      {
        method: "lora",
        placement: ["attention", "mlp", "both"],
        learning_rate: [1e-3, 3e-3],
        settings: { r: [4, 8], lora_alpha: 16 },
      },
    ],
    { seeds: [1, 2] },
  );
  // Two models, two tasks: the model alone, and 3 placements x 2 rates x 2 ranks x 2 seeds.
  expect(cells.length).toBe(2 * 2 * (1 + 24));
  expect(new Set(cells.map(({ label }) => label)).size).toBe(cells.length);
  expect(cells[1]!.label).toBe("graft-micro-llama  a  lora (attention, r 4, learning_rate 0.001)  seed 1");
  expect(cells.findLastIndex(({ cell }) => cell.model.name === names[0])).toBe(49);
  expect(cells[1]!.cell.adapter).toMatchObject({
    sizeField: "r",
    placement: "attention",
    config: { r: 4, lora_alpha: 16 },
  });
  // A and B of q, k, v, o with rank 4 in four layers of width 128; k and v have 2 of 4 heads.
  const { trainableParameters } = cells[1]!.cell.adapter!;
  const shapes = bases
    .get(names[0]!)!
    .sites.filter((site) => site.kind === "linear" && site.name.includes("self_attn"));
  expect(trainableParameters).toBe(
    shapes.reduce((sum, site) => sum + (site.kind === "linear" ? 4 * (site.inDim + site.outDim) : 0), 0),
  );
});

test("a list of lists is a choice of lists", () => {
  const cells = grid(
    [{ method: "lora", settings: { target_modules: [["query_key_value"], ["dense"]] }, models: names[1], tasks: "a" }],
    { base: false },
  );
  expect(cells.map(({ cell }) => cell.adapter!.config.target_modules)).toEqual([["query_key_value"], ["dense"]]);
});

test("an adapter that two variants of a title ask for is there once, and knows what both know", () => {
  const only = { models: names[0], tasks: "a" };
  const targets = ["gate_proj", "up_proj", "down_proj"];
  const cells = grid(
    [
      { method: "lora", settings: { r: 8, target_modules: [targets] }, ...only },
      { method: "lora", reference: true, placement: "mlp", settings: { r: 8 }, ...only },
      { method: "lora", placement: "mlp", settings: { r: [4, 8] }, ...only },
      { title: "the same", method: "lora", placement: "mlp", settings: { r: 8 }, ...only },
    ],
    { base: false },
  );
  expect(cells.map(({ label, cell }) => [label.split("  ")[2]!, cell.isReference])).toEqual([
    ["lora (r 8)", true],
    ["lora (r 4)", false],
    ["the same", false],
  ]);
  expect(cells[0]!.cell.adapter!.placement).toBe("mlp");
});

test.each([
  [
    "s.yaml: variants.0 (lora): settings.rr is no setting of lora; did you mean r",
    { method: "lora", settings: { rr: 4 } },
  ],
  ["s.yaml: variants.0 (lora): r: r must be at least 1", { method: "lora", settings: { r: 0 } }],
  [
    "s.yaml: variants.0 (lora): placement and settings.target_modules say the same",
    { method: "lora", placement: "mlp", settings: { target_modules: [["q_proj"]] } },
  ],
  [
    's.yaml: variants.0 (lora): target module "q_prj" is no module of this model; did you mean q_proj',
    { method: "lora", placement: { name: "q", target_modules: ["q_prj"] } },
  ],
  [
    "s.yaml: variants.0 (S): series has no place at model.layers.0.self_attn.q_proj",
    { title: "S", method: "series", placement: "attention" },
  ],
  [
    "s.yaml: variants.0 (series): with use_parallel_adapter true it is not series",
    { method: "series", settings: { use_parallel_adapter: true } },
  ],
  [
    's.yaml: "lora" has several references; a reference is one adapter, without lists',
    { method: "lora", reference: true, settings: { r: [4, 8] } },
  ],
])("a variant that no adapter can be made of is named: %s", (says, variant) => {
  expect(() => grid([variant])).toThrow(says);
});
