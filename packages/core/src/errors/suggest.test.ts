import { expect, test } from "bun:test";
import { nearNames, suggest } from "./suggest.ts";

test("the nearest name comes first", () => {
  expect(nearNames("loro", ["series", "lora", "lokr"])).toEqual(["lora"]);
  expect(nearNames("q_porj", ["k_proj", "q_proj", "gate_proj"])[0]).toBe("q_proj");
});

test("a far name suggests nothing but still lists what there is", () => {
  expect(suggest("bitfit", ["lora", "series"])).toBe(". Available: lora, series");
  expect(suggest("loro", ["lora", "series"])).toBe("; did you mean lora? Available: lora, series");
});

test("a long list is cut and says by how much", () => {
  const names = Array.from({ length: 30 }, (_, i) => `name${i}`);
  expect(suggest("x", names, 2)).toBe(". Available: name0, name1, and 28 more");
});
