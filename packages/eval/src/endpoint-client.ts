/** An OpenAI-compatible server: what is asked again when it cannot be had, and answers that are what they should be. */
import { ConfigError } from "@graft/core/errors";
import ky, { HTTPError, type KyInstance, TimeoutError } from "ky";
import { z } from "zod";

/** A server that cannot be reached, refuses a request, or gives an answer that cannot be used. The message quotes what it said. */
export class EndpointError extends Error {
  override name = "EndpointError";
  /** HTTP status of the answer; undefined where there was none or it was a good one. */
  readonly status: number | undefined;

  constructor(message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.status = options.status;
  }
}

export interface EndpointOptions {
  /** "http://host:8000", "http://host/v1", or the whole address of a completions route. */
  readonly url: string;
  readonly apiKey?: string | undefined;
  /** How long one answer may take; default ten minutes. */
  readonly timeoutMs?: number;
  /** How often a request is sent again after 408, 429, 502, 503, 504 or a broken connection; default 8. */
  readonly retries?: number;
  /** The wait before try 1, 2, ... where the server names none (Retry-After); default: half a second, doubled each time up to 30 s, the last half of it by chance. */
  readonly delayMs?: (attempt: number) => number;
  readonly fetch?: (request: Request) => Promise<Response>;
}

export interface Ask {
  /** What errors call the request. */
  readonly name: string;
  readonly signal?: AbortSignal | undefined;
}

export interface EndpointClient {
  /** Where the OpenAI routes are, without a slash at the end: "http://host/v1". */
  readonly url: string;
  /** Path from `url`, or a whole address. Throws EndpointError, or the signal's reason. */
  get<T extends z.ZodType>(path: string, schema: T, ask: Ask): Promise<z.output<T>>;
  post<T extends z.ZodType>(path: string, body: object, schema: T, ask: Ask): Promise<z.output<T>>;
}

const RETRIED = [408, 429, 502, 503, 504];
const MAX_RETRY_AFTER_MS = 60_000;

/** Throws ConfigError for an address that is none. */
export function endpointClient(options: EndpointOptions): EndpointClient {
  const url = baseUrl(options.url);
  const http = ky.create({
    timeout: options.timeoutMs ?? 600_000,
    headers: options.apiKey === undefined ? {} : { authorization: `Bearer ${options.apiKey}` },
    retry: {
      limit: options.retries ?? 8,
      methods: ["get", "post"],
      statusCodes: RETRIED,
      afterStatusCodes: RETRIED,
      maxRetryAfter: MAX_RETRY_AFTER_MS,
      delay: options.delayMs ?? backoffMs,
      // Runtimes name a broken connection differently: whatever is no answer is one.
      shouldRetry: ({ error }) => (error instanceof HTTPError || error instanceof TimeoutError ? undefined : true),
    },
    fetch: (input) => whole(input instanceof Request ? input : new Request(String(input)), options.fetch ?? fetch),
  });
  const send = async <T extends z.ZodType>(request: Parameters<typeof answerOf>, schema: T): Promise<z.output<T>> => {
    const [, method, path, , { name }] = request;
    const text = await answerOf(...request);
    const answer = schema.safeParse(jsonOf(text));
    if (answer.success) return answer.data;
    const { path: field, message } = answer.error.issues[0]!;
    throw new EndpointError(
      `${name}: ${method} ${path} answered something else than was asked for (${field.join(".") || "the whole"}: ${message}): ${excerpt(text)}`,
    );
  };
  const at = (path: string) => (path.startsWith("/") ? url + path : path);
  return {
    url,
    get: (path, schema, ask) => send([http, "GET", at(path), undefined, ask], schema),
    post: (path, body, schema, ask) => send([http, "POST", at(path), body, ask], schema),
  };
}

function baseUrl(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (!url || !["http:", "https:"].includes(url.protocol))
    throw new ConfigError(`the endpoint "${given}" is no address; give one like http://localhost:8000/v1`);
  const path = url.pathname.replace(/\/+$/, "").replace(/\/(chat\/)?completions$/, "");
  return `${url.origin}${path || "/v1"}`;
}

function backoffMs(attempt: number): number {
  return Math.min(30_000, 500 * 2 ** (attempt - 1)) * (0.5 + 0.5 * Math.random());
}

/** With the body in memory, so that a connection that breaks in the middle of it is a broken connection. */
async function whole(request: Request, send: (request: Request) => Promise<Response>): Promise<Response> {
  const response = await send(request);
  const bytes = await response.arrayBuffer();
  const { status, statusText, headers } = response;
  return new Response(bytes.byteLength > 0 ? bytes : null, { status, statusText, headers });
}

async function answerOf(
  http: KyInstance,
  method: "GET" | "POST",
  url: string,
  body: object | undefined,
  { name, signal }: Ask,
): Promise<string> {
  try {
    return await http(url, { method, ...(body ? { json: body } : {}), ...(signal ? { signal } : {}) }).text();
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof HTTPError) {
      const { status } = cause.response;
      throw new EndpointError(`${name}: ${method} ${url} answered ${status}: ${complaintOf(cause.data)}`, {
        status,
        cause,
      });
    }
    if (cause instanceof TimeoutError)
      throw new EndpointError(`${name}: ${method} ${url} gave no answer in time`, { cause });
    throw new EndpointError(`${name}: ${method} ${url} cannot be reached: ${reasonOf(cause)}`, { cause });
  }
}

const complaint = z.looseObject({
  error: z.union([z.string(), z.looseObject({ message: z.string() })]).optional(),
  message: z.string().optional(),
  detail: z.unknown().optional(),
});

/** The message in an error's body: OpenAI's form, vLLM's older one, FastAPI's, or the text as it is. */
function complaintOf(data: unknown): string {
  if (data === undefined || data === "") return "(no text)";
  const parsed = complaint.safeParse(data);
  const { error, message, detail } = parsed.success ? parsed.data : {};
  const said = (typeof error === "object" ? error.message : error) ?? message ?? detail ?? data;
  return excerpt(typeof said === "string" ? said : JSON.stringify(said));
}

function reasonOf(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return inner instanceof Error ? inner.message : String(inner);
}

function excerpt(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > 300 ? `${line.slice(0, 300)}...` : line || "(nothing)";
}

/** Undefined where it is no JSON: no schema takes that. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
