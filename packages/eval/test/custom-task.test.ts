import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { customTask, primaryFigure, runTask } from "../src/index.ts";
import { fakeModel } from "./fake-model.ts";

const folder = mkdtempSync(join(tmpdir(), "custom-"));
writeFileSync(
  join(folder, "capitals.jsonl"),
  [
    { country: "France", cities: ["Rome", "Paris"], capital: 1, people: 68 },
    { country: "Italy", cities: ["Rome", "Paris"], capital: 0, people: 59 },
  ]
    .map((row) => JSON.stringify(row))
    .join("\n"),
);
const path = join(folder, "capitals.json");
const ranked = {
  task: "capitals",
  dataset_path: "capitals.jsonl",
  output_type: "multiple_choice",
  doc_to_text: "The capital of {{country}} is",
  doc_to_choice: "cities",
  doc_to_target: "capital",
};
const asked = {
  task: "people",
  dataset_path: "capitals.jsonl",
  output_type: "generate_until",
  doc_to_text: "{{country}} has how many million people?",
  doc_to_target: "people",
  extract: { function: "number" },
  metric: "number",
};
const run = (description: object, model: Parameters<typeof runTask>[1], scoring?: "loglikelihood") =>
  runTask(customTask(description, path, folder), model, { dataDirs: [], scoring });

test("choices are ranked, whether the target is a number, a letter or the choice itself", async () => {
  const paris = fakeModel({ logprob: (_doc, text) => (text === " Paris" ? -1 : -2) });
  expect(primaryFigure(await run(ranked, paris)).value).toBe(0.5);
  expect(paris.asked[0]!.text).toBe("The capital of France is Rome");
  for (const doc_to_target of ["{{cities[capital]}}", "{{ 'B' if capital == 1 else 'A' }}"])
    expect(primaryFigure(await run({ ...ranked, doc_to_target }, paris)).value).toBe(0.5);
  const doc_to_choice = ["the city of {{cities[0]}}", "the city of {{cities[1]}}"];
  const templated = fakeModel({ logprob: (_doc, text) => (text === " the city of Rome" ? -1 : -2) });
  expect(primaryFigure(await run({ ...ranked, doc_to_choice }, templated)).value).toBe(0.5);
});

test("responses are read by number, by pattern and as they are", async () => {
  const says = (text: string) => fakeModel({ generate: () => text });
  expect(primaryFigure(await run(asked, says("It has 68, I think."))).value).toBe(0.5);
  const regex = { ...asked, extract: { function: "regex", regex_pattern: "(\\d+) million", group_select: -1 } };
  const result = await run(regex, says("not 10 million but 59 million"));
  expect(result.samples.map((sample) => sample.filtered_resps)).toEqual([["59"], ["59"]]);
  expect(primaryFigure(result).value).toBe(0.5);
  const exact = { ...asked, doc_to_target: "country", extract: { function: "none" }, metric: "exact_match" };
  expect(primaryFigure(await run({ ...exact, ignore_case: true }, says(" france\n"))).value).toBe(0.5);
  expect(primaryFigure(await run(exact, says(" france\n"))).value).toBe(0);
  const greedy = fakeModel({ logprob: (_doc, text) => (text === " 59" ? -0.5 : -9) });
  expect((await run(asked, greedy, "loglikelihood")).figures.acc!.value).toBe(0.5);
});

test("a template around the question, and shots before it", async () => {
  const model = fakeModel({ generate: () => "68" });
  const task = customTask({ ...asked, prompt_template: "micro" }, path, folder);
  await runTask(task, model, { dataDirs: [], numFewshot: 1, limit: 1 });
  expect(model.asked[0]!.text).toBe(
    "Q: Italy has how many million people?\nA: 59\n\nQ: France has how many million people?\nA:",
  );
});

test("what a description or its data lack is named", async () => {
  const bad = (description: unknown) => () => customTask(description, path, folder);
  expect(bad({ ...asked, output_type: "guess" })).toThrow(`${path}: output_type`);
  expect(bad({ ...asked, doc_to_txt: "x" })).toThrow("doc_to_txt");
  expect(bad([])).toThrow(`${path}: the file`);
  expect(bad({ ...ranked, doc_to_choice: undefined })).toThrow("multiple_choice needs doc_to_choice");
  expect(bad({ ...asked, extract: { function: "regex", regex_pattern: "(" } })).toThrow("regex_pattern");
  const model = fakeModel({ generate: () => "", logprob: () => -1 });
  await expect(run({ ...asked, dataset_path: "gone.json" }, model)).rejects.toThrow("gone.json");
  await expect(run({ ...asked, doc_to_text: "{{contry}}?" }, model)).rejects.toThrow("contry");
  await expect(run({ ...asked, doc_to_text: "{{country" }, model)).rejects.toThrow(path);
  await expect(run({ ...ranked, doc_to_choice: "country" }, model)).rejects.toThrow('doc_to_choice names "country"');
  await expect(run({ ...ranked, doc_to_target: "country" }, model)).rejects.toThrow('"France" is none of the choices');
});

test("whatever stands in a description, it is a task or an error that names the file", async () => {
  const random = new Random(11);
  const values = [
    0,
    -1,
    "",
    "{{",
    "{{country}}",
    "country",
    [],
    ["a"],
    {},
    null,
    true,
    "multiple_choice",
    "generate_until",
    1e9,
  ];
  for (let round = 0; round < 400; round++) {
    const from = round % 2 === 0 ? ranked : asked;
    const fields: Record<string, unknown> = { ...from };
    for (const key of Object.keys(fields)) if (random.uniform() < 0.25) fields[key] = values[random.int(values.length)];
    try {
      await run(fields, fakeModel({ generate: () => "7", logprob: () => -1 }));
    } catch (error) {
      expect((error as Error).name).toMatch(/ConfigError|DataError|UnknownName/);
      expect((error as Error).message).toMatch(/capitals|people|task|template/);
    }
  }
});
