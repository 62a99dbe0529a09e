/** Rows of any common form of training data: which texts ask something, and which answer. */
import { type QuestionText, questionText } from "./question-text.ts";

export interface RowText extends QuestionText {
  readonly part: "question" | "answer";
}

/** Where the question is: the first of these that a row has. What stands in the fields `before` and `behind` belongs to it. */
const questionFields: readonly { readonly name: string; readonly before?: string; readonly behind?: string }[] = [
  { name: "instruction", behind: "input" }, // Alpaca, LLM-Adapters
  { name: "original_text" }, // MAWPS
  { name: "question_stem" }, // OpenBookQA
  { name: "question", before: "context" }, // GSM8K; SIQA has a context
  { name: "Question", before: "Body" }, // SVAMP
  { name: "sQuestion" }, // MultiArith, AddSub
  { name: "problem", before: "context" }, // MATH
  { name: "Problem" }, // MathQA
  { name: "query" },
  { name: "prompt" },
  { name: "goal" }, // PIQA
  { name: "ctx", before: "activity_label" }, // HellaSwag
  { name: "sentence" }, // WinoGrande, SST-2
  { name: "sentence1", behind: "sentence2" }, // MRPC, RTE
  { name: "question1", behind: "question2" }, // QQP
  { name: "premise", behind: "hypothesis" }, // MNLI
  { name: "text" },
];
const answerFields = [
  "output",
  "response",
  "completion",
  "answer",
  "solution",
  "rationale",
  "Rationale",
  "explanation",
  "chosen",
];
const listFields = ["choices", "options", "endings"];
const LISTED = /^(?:answer|option|solution|sol|ending|choice)_?(?:[1-9]|[A-H])$/i;
const LABEL = /^\s*\(?[A-H1-9]\s?[).:]\s*/;

/** What a row may be looked for by. */
export const questionFieldNames: readonly string[] = [
  "messages",
  "conversations",
  "turns",
  ...questionFields.map(({ name }) => name),
];

/**
 * The texts of a row: chat messages ({messages}, {conversations}, {turns}), {prompt, completion}, {instruction, input, output} and the published forms of the benchmarks, a
 * string, or `fields` by name. Undefined if the row is none of these.
 */
export function rowTexts(row: unknown, fields: readonly string[] = []): RowText[] | undefined {
  if (typeof row === "string") return [asked(row)];
  if (!isRecord(row)) return undefined;
  if (fields.length > 0) {
    const named = fields.flatMap((name) => textOf(row[name]) ?? []);
    return named.length === 0 ? undefined : [...named.map(asked), ...answersOf(row, fields)];
  }
  for (const name of ["messages", "conversations", "turns"]) {
    const turns = turnsOf(row[name]);
    if (turns !== undefined) return turns;
  }
  const question = questionOfRow(row);
  return question === undefined ? undefined : [...question, ...answersOf(row, fields)];
}

type Json = Readonly<Record<string, unknown>>;

const isRecord = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const asked = (text: string): RowText => ({ ...questionText(text), part: "question" });
const answered = (text: string): RowText => ({ text, choices: [], part: "answer" });

function questionOfRow(row: Json): RowText[] | undefined {
  for (const { name, before = "", behind = "" } of questionFields) {
    const turns = name === "prompt" ? turnsOf(row[name]) : undefined;
    if (turns !== undefined) return turns;
    const value = row[name];
    // ARC as AllenAI publishes it: {"question": {"stem", "choices"}}.
    const text = textOf(value) ?? (isRecord(value) ? textOf(value["stem"]) : undefined);
    if (text === undefined) continue;
    const whole = [textOf(row[before]), text, textOf(row[behind])].filter((part) => part?.trim()).join("\n");
    // An instruction says all; what stands beside it repeats its answers.
    const listed = name === "instruction" ? [] : choicesOf(isRecord(value) ? value : row);
    return [listed.length >= 2 ? { text: questionText(whole).text, choices: listed, part: "question" } : asked(whole)];
  }
  return undefined;
}

function answersOf(row: Json, not: readonly string[]): RowText[] {
  return answerFields.flatMap((name) => {
    if (not.includes(name)) return [];
    const turns = turnsOf(row[name]);
    if (turns !== undefined) return turns;
    const text = textOf(row[name]);
    return text === undefined ? [] : [answered(text)];
  });
}

/** Messages as OpenAI, TRL and ShareGPT write them; strings, as MT-Bench's turns, are a person's. */
function turnsOf(value: unknown): RowText[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const texts: RowText[] = [];
  for (const turn of value as readonly unknown[]) {
    if (typeof turn === "string") texts.push(asked(turn));
    else if (isRecord(turn)) {
      const role = turn["role"] ?? turn["from"];
      const isAnswer = role === "assistant" || role === "gpt" || role === "model" || role === "tool";
      for (const text of contentOf(turn["content"] ?? turn["value"]))
        texts.push(isAnswer ? answered(text) : asked(text));
    } else return undefined;
  }
  return texts;
}

/** A message's content is a text or a list of parts, some of them texts. */
function contentOf(content: unknown): string[] {
  if (typeof content === "string") return [content];
  if (!Array.isArray(content)) return [];
  return (content as readonly unknown[]).flatMap((part) => (isRecord(part) ? (textOf(part["text"]) ?? []) : []));
}

function choicesOf(row: Json): string[] {
  for (const name of listFields) {
    const value = row[name];
    const list = isRecord(value) ? value["text"] : value;
    if (!Array.isArray(list)) continue;
    const texts = (list as readonly unknown[]).flatMap(
      (entry) => textOf(isRecord(entry) ? entry["text"] : entry) ?? [],
    );
    return texts.every((text) => /^(?:true|false|yes|no)$/i.test(text))
      ? []
      : texts.map((text) => text.replace(LABEL, ""));
  }
  return Object.keys(row).flatMap((name) => (LISTED.test(name) ? (textOf(row[name]) ?? []) : []));
}

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
