/** Prompt templates: how a row becomes the text that the model sees. */
import { suggest, UnknownName } from "../errors/index.ts";

export interface PromptTemplate {
  readonly summary: string;
  /** The text before the response. */
  prompt(row: { readonly instruction: string; readonly input: string }): string;
  /** Stands between prompt and response in training. A model asked with the prompt alone writes it itself. */
  readonly separator: string;
  /** What a model writes when it goes on to another problem by itself: the response ends there. */
  readonly stops: readonly string[];
}

/** The text to train on: the prompt, and the output if there is one. */
export function trainingText(
  template: PromptTemplate,
  row: { instruction: string; input: string; output: string },
): string {
  return template.prompt(row) + (row.output === "" ? "" : template.separator + row.output);
}

const INTRO = "Below is an instruction that describes a task";
const INTRO_WITH_INPUT = `${INTRO}, paired with an input that provides further context`;
const REQUEST = ". Write a response that appropriately completes the request.";
const INSTRUCTION = "### Instruction:";
const RESPONSE = "### Response:";

// LLM-Adapters keeps its template in an indented string, so every line after the first starts with 16 blanks.
const INDENT = " ".repeat(16);

/** The layout that finetune.py and evaluate.py share. They differ in blanks that nobody sees and every tokenizer does. */
function indented(opening: { withInput: string; without: string }, gap: string): PromptTemplate["prompt"] {
  return ({ instruction, input }) => {
    const lines = [input ? opening.withInput : opening.without, "", INDENT + INSTRUCTION, INDENT + instruction, gap];
    if (input) lines.push(`${INDENT}### Input:`, INDENT + input, gap);
    lines.push(INDENT + RESPONSE, INDENT);
    return lines.join("\n");
  };
}

export const promptTemplates = {
  alpaca: {
    summary: "the clean template of Stanford Alpaca; the default",
    prompt({ instruction, input }) {
      const sections = [(input ? INTRO_WITH_INPUT : INTRO) + REQUEST, `${INSTRUCTION}\n${instruction}`];
      if (input) sections.push(`### Input:\n${input}`);
      return `${sections.join("\n\n")}\n\n${RESPONSE}\n`;
    },
    separator: "",
    stops: [INSTRUCTION, RESPONSE],
  },
  /** LLM-Adapters, finetune.py, generate_prompt: one blank after the opening with an input, two without, blank lines indented. */
  paper: {
    summary: "byte for byte what LLM-Adapters' finetune.py trains on",
    prompt: indented({ withInput: `${INTRO_WITH_INPUT}${REQUEST} `, without: `${INTRO}${REQUEST}  ` }, INDENT),
    separator: "",
    stops: [INSTRUCTION, RESPONSE],
  },
  /** LLM-Adapters, evaluate.py and commonsense_evaluate.py, generate_prompt: no blank after the opening with an input, one without, blank lines empty. */
  "paper-eval": {
    summary: "byte for byte what LLM-Adapters' evaluation scripts ask",
    prompt: indented({ withInput: INTRO_WITH_INPUT + REQUEST, without: `${INTRO}${REQUEST} ` }, ""),
    separator: "",
    // The scripts keep what stands before the next "### Response:", whatever it is.
    stops: [RESPONSE],
  },
  micro: {
    summary: "a few tokens around the text, for models with a short context",
    prompt: ({ instruction, input }) => `Q: ${instruction}${input ? ` ${input}` : ""}\nA:`,
    // A blank at the end of a prompt would be a token of its own; before the response it is part of the first word's.
    separator: " ",
    stops: ["\nQ:"],
  },
} as const satisfies Record<string, PromptTemplate>;

export type PromptTemplateName = keyof typeof promptTemplates;

export const DEFAULT_PROMPT_TEMPLATE: PromptTemplateName = "alpaca";

/** The template of that name. Throws UnknownName with near names. */
export function findPromptTemplate(name: string): PromptTemplate {
  if (Object.hasOwn(promptTemplates, name)) return promptTemplates[name as PromptTemplateName];
  throw new UnknownName(`unknown prompt template "${name}"${suggest(name, Object.keys(promptTemplates))}`);
}
