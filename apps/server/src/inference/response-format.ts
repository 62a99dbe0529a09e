/** Answers that must be JSON: OpenAI's response_format and vLLM's guided_json, as constraints of decoding. */
import type { EngineRequest } from "@graft/core/engine";
import { z } from "zod";
import { ApiError } from "../errors.ts";

export type Constraint = NonNullable<EngineRequest["constraint"]>;

const jsonSchema = z.record(z.string(), z.unknown()).describe("JSON Schema");

export const formatFields = {
  response_format: z
    .discriminatedUnion("type", [
      z.object({ type: z.literal("text") }),
      z.object({ type: z.literal("json_object") }),
      z.object({
        type: z.literal("json_schema"),
        json_schema: z.object({
          name: z.string(),
          description: z.string().nullish(),
          schema: jsonSchema.nullish().describe("without it any JSON object"),
          strict: z.boolean().nullish().describe("schemas are always kept"),
        }),
      }),
    ])
    .nullish(),
  guided_json: z.union([z.string(), jsonSchema], "must be a JSON schema, or its text").nullish(),
};

/** A constraint, and the field that it came in: what errors of it name. */
export interface AskedFormat {
  readonly constraint: Constraint;
  readonly field: string;
}

/** What the fields ask for; undefined: nothing. Throws ApiError 400 for both at once, and for a guided_json that is no JSON. */
export function formatOf(body: z.output<z.ZodObject<typeof formatFields>>): AskedFormat | undefined {
  const { response_format: format, guided_json: guided } = body;
  const own = format ? constraintOf(format) : undefined;
  if (guided === undefined || guided === null) return own && { constraint: own, field: "response_format" };
  if (own)
    throw new ApiError(400, "guided_json: response_format says what the answer must be", { param: "guided_json" });
  const schema = typeof guided === "string" ? parse(guided) : guided;
  return { constraint: { type: "json_schema", schema }, field: "guided_json" };
}

function constraintOf(format: NonNullable<z.output<typeof formatFields.response_format>>): Constraint | undefined {
  switch (format.type) {
    case "text":
      return undefined;
    case "json_object":
      return { type: "json_object" };
    case "json_schema": {
      const { schema } = format.json_schema;
      return schema ? { type: "json_schema", schema } : { type: "json_object" };
    }
    default:
      return format satisfies never;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(400, "guided_json: the text is not JSON", { param: "guided_json" });
  }
}
