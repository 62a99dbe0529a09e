/** From what a model wrote to a program that HumanEval can run. */

/** Where Codex's completions end. Chen et al. 2021, section 2.1. */
export const CODEX_STOPS: readonly string[] = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];

/** The same, and the end of a block of code, as the harnesses after it. */
export const COMPLETION_STOPS: readonly string[] = [...CODEX_STOPS, "\n```"];

interface Problem {
  /** The head of a function with its docstring, and what stands before it. */
  readonly prompt: string;
  readonly entry_point: string;
  /** Defines `check(candidate)`. */
  readonly test: string;
}

/** openai/human-eval, execution.py: passes if it runs to its end. */
export function programOf({ prompt, test, entry_point }: Problem, completion: string): string {
  return `${prompt}${completion}\n${test}\ncheck(${entry_point})`;
}

/** The text before the first of the stops. */
export function cutAtStops(text: string, stops: readonly string[]): string {
  const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return text.slice(0, Math.min(text.length, ...ends));
}

/**
 * What follows the prompt, of a completion or a chat model's answer: a block of code if there is one, else the text up to the first stop. A function that is written
 * again goes below the prompt's, whose docstring is a body already; a body that lost its indentation gets it back.
 */
export function readCompletion(text: string, entryPoint: string): string {
  const block = codeBlock(text, entryPoint);
  if (block !== undefined) return defines(entryPoint, block) ? `\n${block}` : indented(block);
  const answer = text.replace(/^(?:[ \t]*\n)+/, "");
  if (/^(?:(?:async )?def|class|from|import|@)\b/.test(answer) && defines(entryPoint, answer)) {
    const own = answer.search(definition(entryPoint)) + 1;
    return `\n${answer.slice(0, own)}${cutAtStops(answer.slice(own), COMPLETION_STOPS)}`;
  }
  return indented(cutAtStops(text, COMPLETION_STOPS));
}

/** The first block between fences that defines the function, or the first; one that was cut off reaches to the end. */
function codeBlock(text: string, entryPoint: string): string | undefined {
  const blocks = [...text.matchAll(/^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|$(?![^]))/gms)].map((match) => match[1]!);
  return blocks.find((block) => defines(entryPoint, block)) ?? blocks[0];
}

function definition(entryPoint: string): RegExp {
  return new RegExp(`^(?:async )?def ${RegExp.escape(entryPoint)}\\b`, "m");
}

function defines(entryPoint: string, code: string): boolean {
  return definition(entryPoint).test(code);
}

const INDENT = "    ";

function indented(body: string): string {
  const lines = body.split("\n");
  const first = lines.findIndex((line) => line.trim() !== "");
  if (first < 0 || /^\s/.test(lines[first]!)) return body;
  // Trimmed text: only its first line lost its blanks. What it opens stands deeper than the others.
  const rest = lines.slice(first + 1).filter((line) => line.trim() !== "");
  const deepEnough = lines[first]!.trimEnd().endsWith(":") ? INDENT.length + 1 : INDENT.length;
  const isTrimmed =
    rest.length > 0 && blanksOf(rest[0]!) >= deepEnough && rest.every((line) => blanksOf(line) >= INDENT.length);
  return lines.map((line, i) => (line.trim() === "" || (isTrimmed && i !== first) ? line : INDENT + line)).join("\n");
}

const blanksOf = (line: string): number => line.length - line.trimStart().length;
