/** What a route says of itself: its entry in /openapi.json, and the schemas that check what comes in. */
import type { MiddlewareHandler } from "hono";
import { describeRoute, resolver, uniqueSymbol } from "hono-openapi";
import type { z } from "zod";
import type { AppEnv } from "./app-env.ts";
import { parseWith, readJson } from "./body.ts";
import { errorSchema } from "./errors.ts";

export const tags = {
  Models: "The base, and adapters as models.",
  Completions: "Text in, text out; batches of any adapters.",
  Files: "Training data.",
  "Fine-tuning": "Jobs that train an adapter on the served base.",
  Adapters: "Versions of adapters: uploads, publication, composition.",
  Tokenizer: "The base's tokenizer.",
  Evaluation: "Results of `graft eval` in this server's database.",
  Keys: "API keys.",
  Server: "Health, figures, this document.",
} as const;
export type Tag = keyof typeof tags;

export interface RouteDescription {
  readonly tag: Tag;
  readonly summary: string;
  readonly description?: string;
  /** Of a 200, as JSON; a record names other types of content: {"text/event-stream": schema}. */
  readonly response?: z.ZodType | Readonly<Record<string, z.ZodType>>;
  /** A body that is not JSON, by type of content. */
  readonly body?: Readonly<Record<string, z.ZodType>>;
  /** What goes wrong besides 400 and 401. */
  readonly errors?: readonly (403 | 404 | 409 | 413 | 429 | 503 | 504)[];
}

const ERRORS = {
  400: "The request is wrong: `param` names the field",
  401: "No key, or a wrong one",
  403: "The key lacks the scope",
  404: "There is none of this name",
  409: "Not in this state",
  413: "Too large",
  429: "Over the key's rate limit: see Retry-After",
  503: "Busy, or the engine is being started again: see Retry-After",
  504: "Not done by its deadline",
} as const;

/** The route's operation in the OpenAPI document. */
export function describe(route: RouteDescription): MiddlewareHandler {
  const { tag, summary, description, response, body, errors = [] } = route;
  const error = { "application/json": { schema: resolver(errorSchema) } };
  return describeRoute({
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(body ? { requestBody: { required: true, content: contentOf(body) } } : {}),
    responses: {
      200: { description: "Done", ...(response ? { content: contentOf(response) } : {}) },
      ...Object.fromEntries(
        ([400, 401, ...errors] as const).map((status) => [status, { description: ERRORS[status], content: error }]),
      ),
    },
  });
}

function contentOf(schemas: NonNullable<RouteDescription["response"]>) {
  const byType = "parse" in schemas ? { "application/json": schemas as z.ZodType } : schemas;
  return Object.fromEntries(
    Object.entries(byType).map(([type, schema]) => [type, { schema: resolver(schema as z.ZodType) }]),
  );
}

type Validated<Target extends "json" | "query", S extends z.ZodType> = MiddlewareHandler<
  AppEnv,
  string,
  { in: { [K in Target]: z.input<S> }; out: { [K in Target]: z.output<S> } }
>;

/** The body as JSON in UTF-8, checked and in the OpenAPI document; `c.req.valid("json")` has it. A body that does not fit is a 400 that names the field. */
export function jsonBody<S extends z.ZodType>(schema: S): Validated<"json", S> {
  const middleware: Validated<"json", S> = async (c, next) => {
    c.req.addValidatedData("json", parseWith(schema, await readJson(c)) as object);
    await next();
  };
  return Object.assign(middleware, { [uniqueSymbol]: { target: "json", ...resolver(schema) } });
}

/** The same for what stands behind the question mark: strings, so that a schema coerces what is a number. */
export function queryOf<S extends z.ZodType>(schema: S): Validated<"query", S> {
  const middleware: Validated<"query", S> = async (c, next) => {
    c.req.addValidatedData("query", parseWith(schema, c.req.query()) as object);
    await next();
  };
  return Object.assign(middleware, { [uniqueSymbol]: { target: "query", ...resolver(schema) } });
}
