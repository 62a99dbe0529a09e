/** Tasks that are described, not programmed: a data file and a few templates, under the names that lm-evaluation-harness uses. */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { readJsonElements } from "@graft/core/data";
import { ConfigError, DataError } from "@graft/core/errors";
import { isAbsolute, join } from "node:path";
import { z } from "zod";
import type { Doc } from "./doc.ts";
import { equalFixed, statedNumber } from "./extract/index.ts";
import { goldScoring, type Ranking, rankingScoring } from "./likelihood.ts";
import { SHOT_DELIMITER } from "./shots.ts";
import type { Scoring, Task } from "./task.ts";

const descriptionSchema = z.strictObject({
  task: z.string().regex(/^[\w.-]+$/, "is a word of letters, digits, _ . and -"),
  version: z.int().min(0).default(1),
  description: z.string().default("a task of your own"),
  /** JSON or JSON Lines, also gzipped; beside the description, or in a data folder. */
  dataset_path: z.string().min(1),
  /** Shots come from here; default: from the other problems. */
  fewshot_path: z.string().min(1).optional(),
  output_type: z.enum(["generate_until", "multiple_choice"]),
  /** Jinja over the fields of a row, or the name of a field. */
  doc_to_text: z.string(),
  /** The gold answer; of multiple_choice the choice itself, its number from 0, or its letter from A. */
  doc_to_target: z.union([z.string(), z.number()]),
  /** Jinja for each choice, or the name of a field that is a list. */
  doc_to_choice: z.union([z.string(), z.array(z.string()).min(2)]).optional(),
  target_delimiter: z.string().default(" "),
  /** Asks with one of Graft's prompt templates around doc_to_text. */
  prompt_template: z.string().optional(),
  generation_kwargs: z
    .strictObject({
      until: z.array(z.string()).default(["\n\n"]),
      max_gen_toks: z.int().min(1).default(256),
      temperature: z.number().min(0).default(0),
      num_beams: z.int().min(1).default(1),
    })
    .prefault({}),
  /** How the answer is read out of a response. */
  extract: z
    .discriminatedUnion("function", [
      z.strictObject({ function: z.literal("none") }),
      z.strictObject({ function: z.literal("number") }),
      z.strictObject({
        function: z.literal("regex"),
        regex_pattern: z.string(),
        /** Which of several matches: 0 the first, -1 the last. */
        group_select: z.int().default(0),
      }),
    ])
    .default({ function: "none" }),
  metric: z.enum(["exact_match", "number"]).default("exact_match"),
  ignore_case: z.boolean().default(false),
});
export type TaskDescription = z.output<typeof descriptionSchema>;

/** The task that a parsed description file describes. `path` is the file's: messages name it, and data files are looked for beside it. Throws ConfigError naming the field. */
export function customTask(description: unknown, path: string, folder: string): Task {
  const result = descriptionSchema.safeParse(description);
  if (!result.success) {
    const issues = result.error.issues.map((issue) => `${issue.path.join(".") || "the file"}: ${issue.message}`);
    throw new ConfigError(`${path}: ${issues.join("; ")}`);
  }
  const own = result.data;
  const render = renderer(path);
  const fill = (source: string, doc: Doc) => (Object.hasOwn(doc, source) ? asText(doc[source]) : render(source, doc));
  const common = {
    name: own.task,
    version: own.version,
    summary: own.description,
    groups: ["custom"],
    dataset: {
      name: own.task,
      summary: own.description,
      licence: "yours",
      citation: path,
      files: {
        test: [placeOf(own.dataset_path, folder)],
        ...(own.fewshot_path === undefined ? {} : { train: [placeOf(own.fewshot_path, folder)] }),
      },
      rows: 0,
      sources: [],
      read: readDocs,
    },
  } satisfies Partial<Task>;
  if (own.output_type === "multiple_choice") {
    if (own.doc_to_choice === undefined) throw new ConfigError(`${path}: multiple_choice needs doc_to_choice`);
    const scoring = choiceScoring(own, own.doc_to_choice, fill, path);
    return { ...common, target: (doc) => targetOf(own, fill, doc), scorings: { loglikelihood: scoring } };
  }
  return {
    ...common,
    target: (doc) => targetOf(own, fill, doc),
    scorings: {
      fixed: responseScoring(own, fill),
      loglikelihood: goldScoring(
        (doc) => ({
          context: fill(own.doc_to_text, doc),
          continuation: own.target_delimiter + targetOf(own, fill, doc),
        }),
        (doc, template) => ({
          context: template.prompt({ instruction: fill(own.doc_to_text, doc), input: "" }),
          continuation: template.separator + targetOf(own, fill, doc),
        }),
      ),
    },
  };
}

type Fill = (source: string, doc: Doc) => string;

function responseScoring(own: TaskDescription, fill: Fill): Scoring {
  const { until, max_gen_toks: maxNewTokens, temperature, num_beams: numBeams } = own.generation_kwargs;
  const read = reader(own.extract);
  return {
    metrics: ["acc"],
    maxNewTokens,
    numBeams,
    ...(own.prompt_template === undefined ? {} : { template: own.prompt_template }),
    questions(doc, { template, shots }) {
      const ask = (one: Doc) => {
        const text = fill(own.doc_to_text, one);
        return template ? template.prompt({ instruction: text, input: "" }) : text;
      };
      const gap = template ? template.separator : own.target_delimiter;
      const solved = shots.map((shot) => ask(shot) + gap + targetOf(own, fill, shot) + SHOT_DELIMITER);
      const stop = [...until, ...(template?.stops ?? [])];
      return [{ kind: "generate", prompt: solved.join("") + ask(doc), maxNewTokens, temperature, numBeams, stop }];
    },
    judge(doc, [answer]) {
      if (answer?.kind !== "generate") throw new TypeError("a response was asked for");
      const found = read(answer.texts[0]!);
      return { filtered: [found], values: { acc: isRight(own, found, targetOf(own, fill, doc)) ? 1 : 0 } };
    },
  };
}

function choiceScoring(own: TaskDescription, source: string | readonly string[], fill: Fill, path: string): Scoring {
  const choicesOf = (doc: Doc): string[] => {
    if (typeof source !== "string") return source.map((one) => fill(one, doc));
    const listed = doc[source];
    if (!Array.isArray(listed) || listed.length < 2)
      throw new DataError(
        `${path}: doc_to_choice names "${source}", and that is no list of choices in ${JSON.stringify(doc).slice(0, 120)}`,
      );
    return listed.map(asText);
  };
  const rank = (doc: Doc, contexts: string, gap: string): Ranking => {
    const choices = choicesOf(doc);
    const gold = goldOf(targetOf(own, fill, doc), choices);
    if (gold < 0)
      throw new DataError(
        `${path}: the target "${targetOf(own, fill, doc)}" is none of the choices ${JSON.stringify(choices)}`,
      );
    return { contexts, continuations: choices.map((choice) => gap + choice), choices, gold };
  };
  return rankingScoring(
    (doc) => rank(doc, fill(own.doc_to_text, doc), own.target_delimiter),
    (doc, template) =>
      rank(doc, template.prompt({ instruction: fill(own.doc_to_text, doc), input: "" }), template.separator),
    own.prompt_template,
  );
}

/** By text, by letter, by number from 0. */
function goldOf(target: string, choices: readonly string[]): number {
  if (choices.includes(target)) return choices.indexOf(target);
  const place = /^\d+$/.test(target) ? Number(target) : /^[A-Z]$/.test(target) ? target.charCodeAt(0) - 65 : -1;
  return place < choices.length ? place : -1;
}

const targetOf = (own: TaskDescription, fill: Fill, doc: Doc): string =>
  typeof own.doc_to_target === "number" ? String(own.doc_to_target) : fill(own.doc_to_target, doc).trim();

function isRight({ metric, ignore_case }: TaskDescription, found: string, target: string): boolean {
  if (metric === "number") return equalFixed(found, target);
  const plain = (text: string) => (ignore_case ? text.toLowerCase() : text).trim();
  return plain(found) === plain(target);
}

function reader(extract: TaskDescription["extract"]): (response: string) => string {
  if (extract.function === "number") return statedNumber;
  if (extract.function === "none") return (response) => response.trim();
  let pattern: RegExp;
  try {
    pattern = new RegExp(extract.regex_pattern, "gu");
  } catch (cause) {
    throw new ConfigError(`extract.regex_pattern: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  return (response) => {
    const match = [...response.matchAll(pattern)].at(extract.group_select);
    return match ? (match[1] ?? match[0]).trim() : "";
  };
}

async function readDocs(path: string): Promise<Doc[]> {
  return (await readJsonElements(path)).map(({ value, line }) => {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new DataError(
        `${path}: line ${line}: a row is an object of fields, not ${JSON.stringify(value).slice(0, 60)}`,
      );
    return value as Doc; // JSON.parse gives plain objects
  });
}

const placeOf = (file: string, folder: string): string => (isAbsolute(file) ? file : join(folder, file));
const asText = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

/** Fills templates; each text is parsed once. A name that the row does not have is an error, not an empty text, unless the template asks whether it is defined. */
function renderer(path: string): Fill {
  const programs = new Map<string, ReturnType<typeof parse>>();
  return (source, doc) => {
    const fields = new Fields();
    let text: string;
    try {
      const program = programs.get(source) ?? parse(tokenize(source));
      programs.set(source, program);
      const environment = new Environment();
      for (const [name, value] of Object.entries({ true: true, false: false, none: null, ...doc }))
        environment.set(name, value);
      for (const [name, value] of environment.variables) fields.set(name, value);
      environment.variables = fields;
      text = String(new Interpreter(environment).run(program).value);
    } catch (cause) {
      const said = cause instanceof Error ? cause.message : String(cause);
      throw new ConfigError(`${path}: the template ${JSON.stringify(source)}: ${said}`, { cause });
    }
    for (const name of fields.missing) {
      if (new RegExp(`\\b${name}\\s*(is\\s|\\|\\s*default)`).test(source)) continue;
      const given = Object.keys(doc).join(", ");
      throw new DataError(
        `${path}: the template ${JSON.stringify(source)} names ${name}; the row has the fields ${given}`,
      );
    }
    return text;
  };
}

/** A template's names; remembers those that were looked for in vain. */
class Fields extends Map<string, AnyRuntimeValue> {
  readonly missing = new Set<string>();

  override has(name: string): boolean {
    const isThere = super.has(name);
    if (!isThere) this.missing.add(name);
    return isThere;
  }
}

type AnyRuntimeValue = Environment["variables"] extends Map<string, infer V> ? V : never;
