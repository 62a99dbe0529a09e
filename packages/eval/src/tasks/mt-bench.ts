/** Two-turn questions judged by another model (Zheng et al. 2023, arXiv:2306.05685), 80 rows. Asked and judged as FastChat's llm_judge does. */
import type { PromptTemplate } from "@graft/core/data";
import { ConfigError, DataError } from "@graft/core/errors";
import { dirname, join } from "node:path";
import { mtBench as questions, type MtBenchDoc } from "../datasets/mt-bench.ts";
import type { Dataset } from "../dataset.ts";
import { EndpointError } from "../endpoint-client.ts";
import type { AskJudge } from "../judge/judge-client.ts";
import { judgeMessages, type JudgePrompt, type JudgePrompts, readJudgePrompts } from "../judge/judge-prompts.ts";
import { readRating } from "../judge/rating.ts";
import type { Answer, AskContext, ChatMessage, GenerateQuestion, Task } from "../task.ts";

/** A question with the prompts that judge its answers. */
export type JudgedDoc = MtBenchDoc & { readonly judge: JudgePrompts };

/** FastChat, temperature_config; what it does not list is asked at 0.7. */
const TEMPERATURES: Readonly<Record<string, number>> = {
  writing: 0.7,
  roleplay: 0.7,
  extraction: 0,
  math: 0,
  coding: 0,
  reasoning: 0,
  stem: 0.1,
  humanities: 0.1,
};
const USUAL_TEMPERATURE = 0.7;
/** FastChat, NEED_REF_CATS: the judge sees a reference answer. */
const REFERENCED = new Set(["math", "reasoning", "coding", "arena-hard-200"]);
const MAX_NEW_TOKENS = 1024;
/** Replies of the judge in which a rating is looked for. */
const MAX_REPLIES = 3;
const ASK_FOR_RATING =
  'Your reply has no rating. Give it now, on a scale of 1 to 10, strictly in this format: "[[rating]]".';

const dataset: Dataset<JudgedDoc> = {
  ...questions,
  async read(path) {
    const prompts = await readJudgePrompts(join(dirname(path), "judge_prompts.jsonl"));
    return (await questions.read(path)).map((doc) => {
      if (!REFERENCED.has(doc.category)) return { ...doc, judge: prompts.plain };
      if (doc.reference?.length !== 2)
        throw new DataError(
          `${path}: question ${doc.question_id} (${doc.category}) is judged by reference answers to both turns, and has ${doc.reference?.length ?? 0}`,
        );
      return { ...doc, judge: prompts.referenced };
    });
  },
};

export const mtBench: Task<JudgedDoc> = {
  name: "mt_bench",
  version: 1,
  summary: "two-turn questions, the answers judged by another model from 1 to 10",
  groups: ["chat"],
  dataset,
  needs: "judge",
  target: ({ reference }) => reference?.join("\n\n") ?? "",
  scorings: {
    fixed: {
      metrics: ["mt_bench", "mt_bench_turn1", "mt_bench_turn2"],
      template: "paper",
      maxNewTokens: MAX_NEW_TOKENS,
      questions: (doc, context) => ask(doc, context, []),
      furtherQuestions: (doc, context, answers) =>
        answers.length < doc.turns.length ? ask(doc, context, answers) : [],
      async judge(doc, answers, { askJudge, signal }) {
        if (!askJudge) throw new TypeError("judging needs a model that judges");
        const rated = await Promise.allSettled(
          [doc.judge.first, doc.judge.second].map((prompt, turn) =>
            rate(
              filled(prompt, doc, answers.map(textOf)),
              `mt_bench: question ${doc.question_id}, turn ${turn + 1}`,
              askJudge,
              signal,
            ),
          ),
        );
        // When one fails, the other is over too: nothing is under way any more.
        const [first, second] = rated.map((one) => {
          if (one.status === "rejected") throw one.reason as Error;
          return one.value;
        });
        return {
          filtered: [String(first!.rating), String(second!.rating)],
          detail: `Turn 1. ${first!.said}\n\nTurn 2. ${second!.said}`,
          values: {
            mt_bench: (first!.rating + second!.rating) / 2,
            mt_bench_turn1: first!.rating,
            mt_bench_turn2: second!.rating,
          },
        };
      },
    },
  },
};

function ask(
  { question_id, category, turns }: JudgedDoc,
  { template, shots }: AskContext,
  answers: readonly Answer[],
): readonly GenerateQuestion[] {
  if (!template) throw new TypeError("a question needs its template");
  if (shots.length > 0) throw new ConfigError("mt_bench has no solved problems to show; leave out num-fewshot");
  return [
    {
      kind: "generate",
      prompt: conversation(turns.slice(0, answers.length + 1), answers.map(textOf), template),
      maxNewTokens: MAX_NEW_TOKENS,
      temperature: TEMPERATURES[category] ?? USUAL_TEMPERATURE,
      seed: question_id,
      stop: template.stops,
    },
  ];
}

/** Each turn in the template that the adapter was trained with, the earlier ones with the model's own answers. */
function conversation(turns: readonly string[], answers: readonly string[], template: PromptTemplate): string {
  return turns
    .map((instruction, i) => {
      const prompt = template.prompt({ instruction, input: "" });
      return i < answers.length ? prompt + template.separator + answers[i]! : prompt;
    })
    .join("\n\n");
}

function filled(
  prompt: JudgePrompt,
  { turns, reference }: MtBenchDoc,
  answers: readonly string[],
): readonly ChatMessage[] {
  return judgeMessages(prompt, {
    question: turns[0],
    answer: answers[0],
    question_1: turns[0],
    question_2: turns[1],
    answer_1: answers[0],
    answer_2: answers[1],
    ref_answer_1: reference?.[0],
    ref_answer_2: reference?.[1],
  });
}

/** A judge that forgets the rating is asked for it in the same conversation. Throws EndpointError if it never comes. */
async function rate(
  messages: readonly ChatMessage[],
  name: string,
  ask: AskJudge,
  signal: AbortSignal | undefined,
): Promise<{ readonly rating: number; readonly said: string }> {
  const said: string[] = [];
  let asked = messages;
  while (said.length < MAX_REPLIES) {
    const reply = await ask(asked, { name, signal });
    said.push(reply);
    const rating = readRating(reply);
    if (rating !== undefined) return { rating, said: said.join("\n\n") };
    asked = [...asked, { role: "assistant", content: reply }, { role: "user", content: ASK_FOR_RATING }];
  }
  throw new EndpointError(
    `${name}: the judge gave no rating from 0 to 10 in ${MAX_REPLIES} replies; the last one: ${JSON.stringify(said.at(-1)!.slice(-200))}`,
  );
}

/** Without the blanks around it, as FastChat keeps answers. */
function textOf(answer: Answer): string {
  if (answer.kind !== "generate") throw new TypeError("an answer was asked for");
  return answer.texts[0]!.trim();
}
