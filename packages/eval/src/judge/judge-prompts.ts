/** MT-Bench's public judge prompts: which one judges a question, and how it is filled. Zheng et al. 2023, arXiv:2306.05685, appendix A. */
import { readJsonElements } from "@graft/core/data";
import { DataError } from "@graft/core/errors";
import { existsSync } from "node:fs";
import { z } from "zod";
import type { ChatMessage } from "../task.ts";

const promptSchema = z.object({
  name: z.string(),
  system_prompt: z.string(),
  /** With {question}, {answer}, {ref_answer_1}, ... */
  prompt_template: z.string(),
});
export type JudgePrompt = z.output<typeof promptSchema>;

/** Of single-answer grading. `first` judges the first answer, `second` the second one, with the whole conversation in view. */
export interface JudgePrompts {
  readonly first: JudgePrompt;
  readonly second: JudgePrompt;
}

/** `plain` shows the judge no reference answer. */
export interface JudgePromptFile {
  readonly plain: JudgePrompts;
  readonly referenced: JudgePrompts;
}

/** Reads judge_prompts.jsonl. Throws DataError naming file and line or prompt, or, where it is not there, what fetches it. */
export async function readJudgePrompts(path: string): Promise<JudgePromptFile> {
  if (!existsSync(path))
    throw new DataError(
      `${path}: no such file; it holds the prompts of the judge, \`graft datasets pull mt_bench\` fetches it`,
    );
  const prompts = new Map<string, JudgePrompt>();
  for (const { value, line } of await readJsonElements(path)) {
    const prompt = promptSchema.safeParse(value);
    if (!prompt.success) {
      const issue = prompt.error.issues[0]!;
      throw new DataError(`${path}: line ${line}: field "${issue.path.join(".")}": ${issue.message}`);
    }
    prompts.set(prompt.data.name, prompt.data);
  }
  const named = (name: string): JudgePrompt => {
    const prompt = prompts.get(name);
    if (prompt) return prompt;
    throw new DataError(`${path}: has no prompt "${name}"; it has ${[...prompts.keys()].join(", ")}`);
  };
  return {
    plain: { first: named("single-v1"), second: named("single-v1-multi-turn") },
    referenced: { first: named("single-math-v1"), second: named("single-math-v1-multi-turn") },
  };
}

/**
 * What the judge is asked: the prompt's own system message, and its template with every {name} replaced, as Python's str.format does it: what is put in
 * is not looked at again, {{ and }} are braces. Throws DataError for a name without a value.
 */
export function judgeMessages(
  { name, system_prompt, prompt_template }: JudgePrompt,
  values: Readonly<Record<string, string | undefined>>,
): readonly ChatMessage[] {
  const content = prompt_template.replaceAll(/\{\{|\}\}|\{(\w+)\}/g, (found, field: string | undefined) => {
    if (field === undefined) return found[0]!;
    const value = Object.hasOwn(values, field) ? values[field] : undefined;
    if (value === undefined)
      throw new DataError(`judge prompt "${name}" asks for {${field}}, which this question does not have`);
    return value;
  });
  return [
    { role: "system", content: system_prompt },
    { role: "user", content },
  ];
}
