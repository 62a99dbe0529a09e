/** The rows of a training file to examples, whatever their format. */
import type { PromptTemplate } from "./prompts.ts";
import { pacer } from "./_pacer.ts";
import { chatExamples } from "./chat-example.ts";
import type { ChatTokenizer } from "./chat-prompt.ts";
import type { CompletionRow } from "./completion-row.ts";
import {
  commonLength,
  type CutExample,
  encodeEnded,
  endToken,
  IGNORE,
  instructionExamples,
  tally,
  type TokenizedRows,
} from "./tokenize.ts";
import type { TrainingFormat, TrainingRows } from "./training-file.ts";

export interface TokenizeTrainingOptions {
  /** Of instructions; the other formats have none. */
  readonly template: PromptTemplate;
  readonly cutoffLen: number;
  /** Default: that of the format. */
  readonly trainOnInputs?: boolean | undefined;
}

/** Whether prompts are learned where nobody says so: of instructions, as finetune.py does; of chats and completions not. */
export function defaultTrainOnInputs(format: TrainingFormat): boolean {
  return format === "instruction";
}

/** One example per row; what waits in the event loop runs in between. Throws as tokenizeRows, and DataError for a conversation that the model's chat template cannot take. */
export async function tokenizeTraining(
  training: TrainingRows,
  tokenizer: ChatTokenizer,
  { template, cutoffLen, trainOnInputs = defaultTrainOnInputs(training.format) }: TokenizeTrainingOptions,
): Promise<TokenizedRows> {
  switch (training.format) {
    case "instruction":
      return each(training.rows, instructionExamples(tokenizer, { template, cutoffLen, trainOnInputs }), cutoffLen);
    case "chat":
      return each(training.rows, chatExamples(tokenizer, { cutoffLen, trainOnInputs }), cutoffLen);
    case "completion":
      return each(training.rows, completionExamples(tokenizer, { cutoffLen, trainOnInputs }), cutoffLen);
    default:
      throw new Error(training satisfies never);
  }
}

/** Prompt and completion as one text, EOS behind it as tokenizeRows has it. A token over their border is learned. */
function completionExamples(
  tokenizer: ChatTokenizer,
  { cutoffLen, trainOnInputs }: { readonly cutoffLen: number; readonly trainOnInputs: boolean },
): (row: CompletionRow) => CutExample {
  const eosId = endToken(tokenizer, cutoffLen);
  return ({ prompt, completion }) => {
    const { ids, wasCut } = encodeEnded(prompt + completion, tokenizer, eosId, cutoffLen);
    const labels = Int32Array.from(ids);
    if (!trainOnInputs) {
      const asked = tokenizer.encode(prompt, { addSpecialTokens: true });
      labels.fill(IGNORE, 0, commonLength(asked, ids));
    }
    return { ids: Int32Array.from(ids), labels, wasCut };
  };
}

async function each<R>(
  rows: readonly R[],
  toExample: (row: R) => CutExample,
  cutoffLen: number,
): Promise<TokenizedRows> {
  const pace = pacer();
  const cut: CutExample[] = [];
  for (const row of rows) {
    cut.push(toExample(row));
    await pace();
  }
  return tally(cut, cutoffLen);
}
