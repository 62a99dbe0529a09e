/** Calls of tools in a model's answer: the formats that chat templates ask for. */

export interface Call {
  readonly name: string;
  /** JSON. */
  readonly arguments: string;
}

/** Pieces of an answer, in their order: first the text, then the calls. */
export interface Piece {
  readonly text: string;
  readonly calls: readonly Call[];
}

/** Reads an answer as it grows. What may still turn out to be a call is held back. */
export interface CallReader {
  push(text: string): Piece;
  /** What was held back: calls, or text if it is none. */
  end(): Piece;
}

export interface ToolFormat {
  /** What stands before a call's JSON. */
  readonly opens: string;
  readonly argumentsField: "arguments" | "parameters";
  /** `names`: of the tools on offer. */
  reader(names: ReadonlySet<string>): CallReader;
}

const TAG = "<tool_call>";
const END_TAG = "</tool_call>";
const PYTHON_TAG = "<|python_tag|>";

/** `<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>`, any number of them with text around: Hermes, Qwen 2.5, Qwen 3. */
const tagged: ToolFormat = {
  opens: `${TAG}\n`,
  argumentsField: "arguments",
  reader: () => readTagged(),
};

/** The whole answer is `{"name": ..., "parameters": {...}}`: Llama 3.1 and later. */
const bare: ToolFormat = {
  opens: "",
  argumentsField: "parameters",
  reader: (names) => readBare(names),
};

/** The format that a chat template describes to the model; undefined for one that is not known here. */
export function toolFormatOf(template: string): ToolFormat | undefined {
  // Qwen 3 Coder's tags hold XML.
  if (template.includes(TAG)) return template.includes("<function=") ? undefined : tagged;
  return /"name\\?": /.test(template) && /"parameters\\?": /.test(template) ? bare : undefined;
}

/** Reads an answer that is one call and nothing else, as a constraint keeps it. */
export function readForced(): CallReader {
  let held = "";
  return {
    push(text) {
      held += text;
      return { text: "", calls: [] };
    },
    end() {
      const call = callOf(held);
      return call ? { text: "", calls: [call] } : { text: held, calls: [] };
    },
  };
}

function readTagged(): CallReader {
  let held = "";
  let isInside = false;
  // Blanks around calls are the format's, not the text's.
  let blanks = "";
  let isAfterCall = false;
  const read = (isLast: boolean): Piece => {
    let text = "";
    const calls: Call[] = [];
    const say = (part: string): void => {
      const whole = blanks + part;
      const trimmed = whole.trimEnd();
      blanks = whole.slice(trimmed.length);
      text += isAfterCall ? trimmed.trimStart() : trimmed;
      if (trimmed !== "") isAfterCall = false;
    };
    for (;;) {
      const tag = isInside ? END_TAG : TAG;
      const at = held.indexOf(tag);
      const isFound = at >= 0;
      if (isInside) {
        if (!isFound && !isLast) break;
        const body = isFound ? held.slice(0, at) : held;
        const call = callOf(body);
        if (call) {
          calls.push(call);
          blanks = "";
          isAfterCall = true;
        } else say(TAG + body + (isFound ? END_TAG : ""));
      } else if (isFound) say(held.slice(0, at));
      else {
        const kept = isLast ? 0 : overlap(held, tag);
        say(held.slice(0, held.length - kept));
        held = held.slice(held.length - kept);
        break;
      }
      held = isFound ? held.slice(at + tag.length) : "";
      isInside = isFound && !isInside;
    }
    if (isLast && !isAfterCall) text += blanks;
    return { text, calls };
  };
  return {
    push(text) {
      held += text;
      return read(false);
    },
    end: () => read(true),
  };
}

function readBare(names: ReadonlySet<string>): CallReader {
  let held = "";
  let isText = false;
  return {
    push(text) {
      held += text;
      const begin = held.trimStart();
      const isMaybeCall = begin === "" || begin.startsWith("{") || startsAlike(begin, PYTHON_TAG);
      if (isMaybeCall && !isText) return { text: "", calls: [] };
      isText = true;
      const out = held;
      held = "";
      return { text: out, calls: [] };
    },
    end() {
      const call = callOf(held.trimStart().replace(PYTHON_TAG, ""));
      return call && names.has(call.name) ? { text: "", calls: [call] } : { text: held, calls: [] };
    },
  };
}

/** Undefined for what is no call: no JSON, no name, no arguments. */
function callOf(text: string): Call | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { name, arguments: own, parameters } = value as Record<string, unknown>;
  const given = own ?? parameters;
  if (typeof name !== "string" || typeof given !== "object" || given === null) return undefined;
  return { name, arguments: JSON.stringify(given) };
}

/** Length of the longest end of `text` that a tag may begin with. */
function overlap(text: string, tag: string): number {
  for (let length = Math.min(text.length, tag.length - 1); length > 0; length--)
    if (tag.startsWith(text.slice(-length))) return length;
  return 0;
}

function startsAlike(text: string, tag: string): boolean {
  return tag.startsWith(text) || text.startsWith(tag);
}
