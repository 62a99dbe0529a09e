/** What went wrong with a call, in words for the person in front of the page. */

/** `status` 0: there was no answer. */
export class ApiFailure extends Error {
  override name = "ApiFailure";
  readonly status: number;
  readonly param: string | null;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    status: number,
    message: string,
    details: { readonly param?: string | null; readonly retryAfterSeconds?: number | undefined } = {},
  ) {
    super(message);
    this.status = status;
    this.param = details.param ?? null;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }
}

/** The failure that an answer with a status of 400 and more means. */
export function failureOf(status: number, text: string, retryAfter: string | null): ApiFailure {
  const { message, param } = errorIn(text);
  const seconds = Number(retryAfter);
  return new ApiFailure(status, message ?? `the server answered ${status}`, {
    param: param ?? null,
    retryAfterSeconds: retryAfter !== null && Number.isFinite(seconds) ? seconds : undefined,
  });
}

/** OpenAI's error object, if the text is one. */
export function errorIn(text: string): { readonly message?: string; readonly param?: string | null } {
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown; param?: unknown } };
    if (typeof error?.message !== "string") return {};
    return { message: error.message, param: typeof error.param === "string" ? error.param : null };
  } catch {
    return {};
  }
}

/** A sentence that says what happened and what to do. */
export function explain(error: unknown): string {
  if (!(error instanceof ApiFailure)) return error instanceof Error ? error.message : String(error);
  const { status, message, param, retryAfterSeconds } = error;
  const later = retryAfterSeconds === undefined ? "Try again in a moment." : `Try again in ${retryAfterSeconds} s.`;
  if (status === 0) return "The server does not answer. Is graft serve still running?";
  if (status === 401) return "The server asks for an API key. Enter one with the button “API key” above.";
  if (status === 403) return `${sentence(message)} Enter another key with the button “API key” above.`;
  if (status === 429 || status === 503) return `${sentence(message)} ${later}`;
  return param !== null && !message.includes(param) ? `${param}: ${sentence(message)}` : sentence(message);
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
