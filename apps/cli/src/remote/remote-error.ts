/** What a server says when it refuses, and what is said when there is none. */
import { z } from "zod";

/** A server that cannot be reached, refuses, or is no Graft server. The message is one line for a person. */
export class RemoteError extends Error {
  override name = "RemoteError";
  /** Of the answer; undefined where there was none. */
  readonly status: number | undefined;
  /** Of OpenAI's error object. */
  readonly code: string | undefined;

  constructor(message: string, details: { status?: number; code?: string | undefined; cause?: unknown } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.status = details.status;
    this.code = details.code;
  }
}

const errorObject = z.object({ error: z.object({ message: z.string(), code: z.string().nullish() }) });

/** OpenAI's error object in a text; undefined where it is none. */
export function errorIn(text: string): { readonly message: string; readonly code: string | undefined } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { data } = errorObject.safeParse(value);
  return data && { message: oneLine(data.error.message), code: data.error.code ?? undefined };
}

/** The error of an answer with a status of 400 or more, its body read. `url`: the server's. */
export async function refusal(response: Response, url: string): Promise<RemoteError> {
  const { status } = response;
  const said = errorIn(await response.text());
  if (!said)
    return new RemoteError(`${url}: answered ${status} without an error object; is a Graft server there?`, { status });
  return new RemoteError(said.message + advice(status, response.headers.get("retry-after")), {
    status,
    code: said.code,
  });
}

function advice(status: number, retryAfter: string | null): string {
  if (status === 401) return "; give --api-key, or set GRAFT_API_KEY";
  return retryAfter === null ? "" : `; try again in ${retryAfter} s`;
}

/** The error of a request that got no answer. */
export function unreachable(url: string, cause: unknown): RemoteError {
  const said = cause instanceof Error ? cause.message.replace(/[.?].*$/s, "") : String(cause);
  return new RemoteError(
    `${url}: no server can be reached there (${said}); start one with \`graft serve --model DIR\`, or name another with --url`,
    { cause },
  );
}

/** A server's text may not break the line, nor steer the terminal. */
const oneLine = (text: string): string => text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim();
