/** A problem of a data set. */

/** As it stands in sample files: plain JSON. */
export type Doc = Readonly<Record<string, unknown>>;

/** LLM-Adapters' form. */
export interface InstructionDoc extends Doc {
  readonly instruction: string;
  /** "" where the instruction says all. */
  readonly input: string;
  /** A worked response, model-written and sometimes wrong in the test files; "" where there is none. Never the gold. */
  readonly output: string;
  /** The gold answer. */
  readonly answer: string;
}

/** A problem with listed answers. */
export interface ChoiceDoc extends InstructionDoc {
  /** The question alone, without the list of answers and without the instruction around it. */
  readonly question: string;
  /** The answers' texts, in order. */
  readonly choices: readonly string[];
  /** How the row calls them, in the same order: "answer1", "solution2", "A". `answer` is one of them. */
  readonly labels: readonly string[];
}
