/** Python functions from their docstrings, judged by running them (Chen et al. 2021, arXiv:2107.03374), 164 problems. */
import { ConfigError } from "@graft/core/errors";
import type { PromptTemplate } from "@graft/core/data";
import { CODEX_STOPS, COMPLETION_STOPS, cutAtStops, programOf, readCompletion } from "../code/completion.ts";
import { passAtK } from "../code/pass-at-k.ts";
import { humanEval as dataset, type HumanEvalDoc } from "../datasets/human-eval.ts";
import { goldScoring } from "../likelihood.ts";
import { SHOT_DELIMITER } from "../shots.ts";
import type { AskContext, GenerateQuestion, ProgramOutcome, RunProgram, Scoring, Task } from "../task.ts";

export interface HumanEvalOptions {
  /** Completions of each problem; pass@k is given for every k up to this. */
  readonly samples?: number;
  /** 0: greedy. */
  readonly temperature?: number;
}

const PASS_AT = [1, 10, 100];
const MAX_NEW_TOKENS = 512;
/** The paper's nucleus (section 2.1). */
const TOP_P = 0.95;

/** Throws ConfigError for several samples without a temperature: they would all be the same. */
export function humanEvalTask({ samples = 1, temperature = 0 }: HumanEvalOptions = {}): Task<HumanEvalDoc> {
  if (samples > 1 && temperature === 0)
    throw new ConfigError(
      `humaneval: ${samples} samples at temperature 0 are all the same; set a temperature (the paper: 0.8)`,
    );
  const decoding = {
    maxNewTokens: MAX_NEW_TOKENS,
    ...(temperature > 0 ? { temperature, topP: TOP_P } : {}),
    ...(samples > 1 ? { numReturnSequences: samples } : {}),
  };
  const ask = (doc: HumanEvalDoc, prompt: string, stop: readonly string[]): readonly GenerateQuestion[] => [
    { kind: "generate", prompt, stop, ...decoding, seed: numberOf(doc) },
  ];
  const metrics = PASS_AT.filter((k) => k <= samples).map((k) => `pass@${k}`);
  return {
    name: "humaneval",
    version: 1,
    summary: "Python functions from docstrings, run against their tests",
    groups: ["code"],
    dataset,
    needs: "code-execution",
    target: ({ canonical_solution }) => canonical_solution,
    scorings: {
      paper: {
        metrics,
        maxNewTokens: MAX_NEW_TOKENS,
        questions: (doc, { shots }) => ask(doc, solved(shots, completed) + doc.prompt, CODEX_STOPS),
        judge: judging((text) => cutAtStops(text, CODEX_STOPS), metrics),
      },
      fixed: {
        metrics,
        maxNewTokens: MAX_NEW_TOKENS,
        questions: (doc, { template, shots }) =>
          template
            ? ask(
                doc,
                solved(shots, (shot) => answered(shot, template)) + template.prompt(instruct(doc)),
                template.stops,
              )
            : ask(doc, solved(shots, completed) + doc.prompt, COMPLETION_STOPS),
        judge: judging((text, { entry_point }) => readCompletion(text, entry_point), metrics),
      },
      loglikelihood: goldScoring<HumanEvalDoc>(
        ({ prompt, canonical_solution }) => ({ context: prompt, continuation: canonical_solution }),
        (doc, template) => ({
          context: template.prompt(instruct(doc)),
          continuation: template.separator + inFences(completed(doc)),
        }),
      ),
    },
  };
}

/** One greedy completion of each problem: pass@1. */
export const humanEval = humanEvalTask();

function judging(
  read: (text: string, doc: HumanEvalDoc) => string,
  metrics: readonly string[],
): Scoring<HumanEvalDoc>["judge"] {
  return async (doc, [answer], { runProgram, signal }) => {
    if (answer?.kind !== "generate") throw new TypeError("a completion was asked for");
    if (!runProgram) throw new TypeError("judging needs a runner of programs");
    const completions = answer.texts.map((text) => read(text, doc));
    const outcomes = await outcomesOf(
      completions.map((completion) => programOf(doc, completion)),
      runProgram,
      signal,
    );
    const passed = outcomes.filter(({ state }) => state === "passed").length;
    const values = metrics.map((name) => [
      name,
      passAtK(completions.length, passed, Number(name.slice("pass@".length))),
    ]);
    const detail = outcomes.map(({ state, detail: said }) => (said === "" ? state : `${state}: ${said}`)).join("\n");
    return { filtered: completions, values: Object.fromEntries(values) as Record<string, number>, detail };
  };
}

/** Of each program; equal ones are run once. */
async function outcomesOf(
  programs: readonly string[],
  run: RunProgram,
  signal: AbortSignal | undefined,
): Promise<ProgramOutcome[]> {
  const distinct = [...new Set(programs)];
  const outcomes = await Promise.all(distinct.map((program) => run(program, signal)));
  return programs.map((program) => outcomes[distinct.indexOf(program)]!);
}

/** The number in "HumanEval/12": a problem's samples do not depend on which others are asked. */
function numberOf({ task_id }: HumanEvalDoc): number {
  return Number(/\d+$/.exec(task_id)?.[0] ?? 0);
}

const solved = (shots: AskContext["shots"], show: (shot: HumanEvalDoc) => string): string =>
  (shots as readonly HumanEvalDoc[]).map((shot) => show(shot) + SHOT_DELIMITER).join("");

const completed = ({ prompt, canonical_solution }: HumanEvalDoc): string => prompt + canonical_solution;

const inFences = (code: string): string => `\`\`\`python\n${code.trimEnd()}\n\`\`\``;

const instruct = ({ prompt }: HumanEvalDoc) => ({
  instruction: `Complete this Python function. Answer with the whole function in a block of code.\n\n${inFences(prompt)}`,
  input: "",
});

const answered = (shot: HumanEvalDoc, template: PromptTemplate): string =>
  template.prompt(instruct(shot)) + template.separator + inFences(completed(shot));
