/** Tools of a chat request: what the template is told, and what the answer must then be. */
import { z } from "zod";
import { ApiError } from "../errors.ts";
import type { Constraint } from "./response-format.ts";
import { type CallReader, readForced, toolFormatOf } from "./tool-calls.ts";

const toolSchema = z.looseObject({
  type: z.literal("function"),
  function: z.looseObject({
    name: z.string().regex(/^[\w.-]{1,64}$/, "must be of 1 to 64 letters, digits, _, - and ."),
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish().describe("JSON Schema"),
  }),
});

export const toolFields = {
  tools: z.array(toolSchema).max(128).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(["none", "auto", "required"]),
        z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
      ],
      'must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}}',
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish().describe("false: of several calls the first is given"),
  functions: z.null("is not offered; use tools").optional(),
  function_call: z.null("is not offered; use tool_choice").optional(),
};
type ToolBody = z.output<z.ZodObject<typeof toolFields>>;
type Tool = NonNullable<ToolBody["tools"]>[number];

export interface ToolPlan {
  /** What the template is given. */
  readonly tools?: readonly Tool[];
  /** Of an answer that may have calls. */
  readonly reader?: () => CallReader;
  /** Of an answer that must be a call: what the prompt ends with, and what follows it. */
  readonly forced?: { readonly opens: string; readonly constraint: Constraint };
}

/**
 * auto: what the template's format calls a call is one; a template with tools in a format that is not known here gives answers as text. required, or a tool by name: decoding is
 * constrained to one call. none: the template is told of no tools. Throws ApiError 400 for tools where the template has no place for them.
 */
export function planTools({ tools, tool_choice: given }: ToolBody, template: string | undefined): ToolPlan {
  const choice = given ?? "auto";
  const isForced = choice !== "auto" && choice !== "none";
  if (!tools?.length) {
    if (isForced) throw wrong("tool_choice", "asks for a call, and there are no tools");
    return {};
  }
  if (choice === "none") return {};
  if (template === undefined || !/\btools\b/.test(template))
    throw wrong(
      "tools",
      'the chat template of this model has no place for tools; leave them out, or send tool_choice "none"',
    );
  const format = toolFormatOf(template);
  if (choice === "auto") {
    const names = new Set(tools.map((tool) => tool.function.name));
    return { tools, ...(format ? { reader: () => format.reader(names) } : {}) };
  }
  const allowed = choice === "required" ? tools : tools.filter((tool) => tool.function.name === choice.function.name);
  if (allowed.length === 0) throw wrong("tool_choice", "names a tool that is not among the tools");
  const schema = callSchema(allowed, format?.argumentsField ?? "arguments");
  return {
    tools,
    reader: readForced,
    forced: { opens: format?.opens ?? "", constraint: { type: "json_schema", schema } },
  };
}

/** One call of one of the tools. What their schemas define is defined by the whole's, where references look for it. */
function callSchema(tools: readonly Tool[], argumentsField: string): object {
  const definitions: Record<"$defs" | "definitions", Record<string, unknown>> = { $defs: {}, definitions: {} };
  const calls = tools.map(({ function: { name, parameters } }) => {
    const { $defs, definitions: old, ...own } = parameters ?? {};
    for (const [place, given] of [
      ["$defs", $defs],
      ["definitions", old],
    ] as const) {
      for (const [key, value] of Object.entries(given ?? {})) {
        const known = definitions[place][key];
        if (known !== undefined && JSON.stringify(known) !== JSON.stringify(value))
          throw wrong("tools", `two of them define ${place}/${key} differently; name one tool in tool_choice`);
        definitions[place][key] = value;
      }
    }
    return {
      type: "object",
      properties: { name: { const: name }, [argumentsField]: { type: "object", ...own } },
      required: ["name", argumentsField],
      additionalProperties: false,
    };
  });
  const used = Object.entries(definitions).filter(([, entries]) => Object.keys(entries).length > 0);
  return { ...(calls.length === 1 ? calls[0] : { anyOf: calls }), ...Object.fromEntries(used) };
}

function wrong(param: string, message: string): ApiError {
  return new ApiError(400, `${param}: ${message}`, { param });
}
