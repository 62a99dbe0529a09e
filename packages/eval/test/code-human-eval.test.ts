import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { promptTemplates } from "@graft/core/data";
import { humanEval as dataset, type HumanEvalDoc } from "../src/datasets/human-eval.ts";
import { humanEval, humanEvalTask } from "../src/tasks/human-eval.ts";
import type { Answer, RunProgram, ScoringName, Services } from "../src/task.ts";
import { runnerHere } from "./code-runner.ts";
import { shared } from "./shared.ts";

setDefaultTimeout(300_000);

const doc: HumanEvalDoc = {
  task_id: "HumanEval/12",
  prompt: 'def twice(x):\n    """ Two times x. """\n',
  entry_point: "twice",
  canonical_solution: "    return 2 * x\n",
  test: "def check(candidate):\n    assert candidate(3) == 6\n",
};
const context = { template: undefined, shots: [] };
const generated = (...texts: string[]): Answer => ({ kind: "generate", texts, cutTokens: 0 });
const judge = async (
  task: typeof humanEval,
  scoring: ScoringName,
  answer: Answer,
  services: Services,
  of: HumanEvalDoc = doc,
) => task.scorings[scoring]!.judge(of, [answer], services, context);

/** Passes what returns twice its argument, and remembers what it was given. */
function fakeRunner() {
  const programs: string[] = [];
  const runProgram: RunProgram = (source) => {
    programs.push(source);
    return Promise.resolve({ state: source.includes("return 2 * x") ? "passed" : "failed", detail: "" });
  };
  return { programs, runProgram };
}

test("the paper's prompt is the problem itself, and the first line after the function ends the answer", () => {
  expect(humanEval.scorings.paper!.questions(doc, context)).toEqual([
    {
      kind: "generate",
      prompt: doc.prompt,
      maxNewTokens: 512,
      stop: ["\nclass", "\ndef", "\n#", "\nif", "\nprint"],
      seed: 12,
    },
  ]);
});

test("without a template the problem is completed, with one it is an instruction to answer", () => {
  const { questions } = humanEval.scorings.fixed!;
  expect(questions(doc, context)).toMatchObject([
    { prompt: doc.prompt, stop: expect.arrayContaining(["\ndef", "\n```"]) },
  ]);
  const template = promptTemplates.alpaca;
  const [asked] = questions(doc, { template, shots: [] });
  expect(asked).toMatchObject({ stop: template.stops });
  expect((asked as { prompt: string }).prompt).toContain(
    `\n\n\`\`\`python\n${doc.prompt.trimEnd()}\n\`\`\`\n\n### Response:`,
  );
});

test("solved problems go before the question with their solutions", () => {
  const shot = { ...doc, task_id: "HumanEval/1", prompt: "def one():\n", canonical_solution: "    return 1\n" };
  const { fixed, loglikelihood } = humanEval.scorings;
  expect(fixed!.questions(doc, { ...context, shots: [shot] })).toMatchObject([
    { prompt: `def one():\n    return 1\n\n\n${doc.prompt}` },
  ]);
  expect(loglikelihood!.questions(doc, { ...context, shots: [shot] })).toMatchObject([
    { context: `def one():\n    return 1\n\n\n${doc.prompt}`, continuation: doc.canonical_solution },
  ]);
  const [asked] = fixed!.questions(doc, { template: promptTemplates.alpaca, shots: [shot] });
  expect((asked as { prompt: string }).prompt).toContain(
    "### Response:\n```python\ndef one():\n    return 1\n```\n\nBelow",
  );
});

test("samples are drawn with the problem's own seed", () => {
  const { questions, metrics } = humanEvalTask({ samples: 20, temperature: 0.8 }).scorings.fixed!;
  expect(metrics).toEqual(["pass@1", "pass@10"]);
  expect(questions(doc, context)).toMatchObject([{ numReturnSequences: 20, temperature: 0.8, topP: 0.95, seed: 12 }]);
  expect(humanEvalTask({ samples: 100, temperature: 1 }).scorings.fixed!.metrics).toEqual([
    "pass@1",
    "pass@10",
    "pass@100",
  ]);
  expect(() => humanEvalTask({ samples: 2 })).toThrow("humaneval: 2 samples at temperature 0 are all the same");
});

test("pass@k counts the samples that pass; equal programs run once", async () => {
  const { runProgram, programs } = fakeRunner();
  const right = "    return 2 * x\n";
  const wrong = "    return x\n";
  const task = humanEvalTask({ samples: 10, temperature: 0.8 });
  const texts = [right, wrong, wrong, wrong, wrong, right, wrong, wrong, wrong, wrong];
  const { values, filtered } = await judge(task, "fixed", generated(...texts), { runProgram });
  expect(values).toEqual({ "pass@1": expect.closeTo(0.2, 12), "pass@10": 1 });
  expect(filtered).toEqual(texts);
  expect(programs).toEqual([right, wrong].map((body) => `${doc.prompt}${body}\n${doc.test}\ncheck(twice)`));
});

test("fixed takes the code out of an answer, paper takes the answer as it is", async () => {
  const { runProgram } = fakeRunner();
  const chat = generated("Sure!\n```python\ndef twice(x):\n    return 2 * x\n```\n");
  expect((await judge(humanEval, "fixed", chat, { runProgram })).filtered).toEqual([
    "\ndef twice(x):\n    return 2 * x\n",
  ]);
  expect((await judge(humanEval, "paper", chat, { runProgram })).filtered).toEqual(["Sure!\n```python"]);
});

test("the likelihood is that of the reference solution after the prompt", () => {
  const { questions, metrics, judge: judgeLikelihood } = humanEval.scorings.loglikelihood!;
  expect(metrics).toEqual(["acc", "perplexity"]);
  expect(questions(doc, context)).toEqual([
    { kind: "loglikelihood", context: doc.prompt, continuation: doc.canonical_solution },
  ]);
  const answer: Answer = { kind: "loglikelihood", logprob: -7.5, tokenCount: 6, isGreedy: false, cutTokens: 0 };
  expect(judgeLikelihood(doc, [answer], {}, context)).toMatchObject({ values: { acc: 0, perplexity: [-7.5, 6] } });
});

const path = shared("datasets/human-eval/HumanEval.jsonl.gz");
const { run: runProgram, missing } = path
  ? await runnerHere({ timeoutMs: 60_000 })
  : { missing: "the data set is not there" };
const docs = runProgram ? await dataset.read(path!) : [];

describe.skipIf(missing !== undefined)(`all problems${missing ? ` (skipped: ${missing})` : ""}`, () => {
  const passing = async (text: (of: HumanEvalDoc) => string, scoring: ScoringName): Promise<string[]> => {
    const judged = await Promise.all(
      docs.map((one) => judge(humanEval, scoring, generated(text(one)), { runProgram }, one)),
    );
    return docs.filter((_, i) => judged[i]!.values["pass@1"] === 1).map((one) => one.task_id);
  };

  test("pass with their reference solutions", async () => {
    expect(docs.length).toBe(164);
    const all = docs.map((one) => one.task_id);
    expect(await passing((one) => one.canonical_solution, "paper")).toEqual(all);
  });

  test("are read alike as completions, as whole functions in fences, and trimmed", async () => {
    for (const one of docs) {
      const whole = `Here:\n\`\`\`python\n${one.prompt}${one.canonical_solution}\`\`\`\n`;
      const { filtered } = await judge(
        humanEval,
        "fixed",
        generated(whole, one.canonical_solution, one.canonical_solution.trim()),
        fakeRunner(),
        one,
      );
      expect(filtered![0]).toBe(`\n${one.prompt}${one.canonical_solution}`);
      // A comment in the first column of its own would end it; there is none.
      expect(filtered![1]).toBe(one.canonical_solution);
      expect(filtered![2]!.trim()).toBe(one.canonical_solution.trim());
      expect(filtered![2]).toStartWith("    ");
    }
  });

  test("fail with an empty body", async () => {
    expect(await passing(() => "    pass\n", "fixed")).toEqual([]);
  });
});
