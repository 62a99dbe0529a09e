/** The server's API, called with the key of this tab. Everything throws ApiFailure. */
import type { Adapter, AdapterVersion, Checkpoint, Job, List, Model, Run, Status, TrainingFile } from "./api-types.ts";
import { ApiFailure, failureOf } from "./api-failure.ts";
import { apiKey, wantKey } from "./session.ts";

interface Call {
  readonly method?: "GET" | "POST" | "DELETE";
  /** FormData as it is, anything else as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** An answer with a status below 400, its body unread. An aborted call throws its AbortError. */
export async function call(path: string, { method, body, headers, signal }: Call = {}): Promise<Response> {
  const key = apiKey.get();
  const isForm = body instanceof FormData;
  const init: RequestInit = {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers: {
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined || isForm ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
    ...(signal ? { signal } : {}),
  };
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiFailure(0, error instanceof Error ? error.message : String(error));
  }
  if (response.ok) return response;
  if (response.status === 401) wantKey();
  throw failureOf(response.status, await response.text(), response.headers.get("retry-after"));
}

async function json<T>(path: string, options?: Call): Promise<T> {
  return (await (await call(path, options)).json()) as T;
}

const at = encodeURIComponent;

export const api = {
  status: (signal?: AbortSignal) => json<Status>("/v1/status", { signal }),
  models: (signal?: AbortSignal) => json<List<Model>>("/v1/models", { signal }),

  adapters: (signal?: AbortSignal) => json<List<Adapter>>("/v1/adapters", { signal }),
  versions: (name: string, signal?: AbortSignal) =>
    json<List<AdapterVersion>>(`/v1/adapters/${at(name)}/versions`, { signal }),
  publish: (name: string, version: number) => json(`/v1/adapters/${at(name)}/publish`, { body: { version } }),
  rollBack: (name: string) => json<Adapter>(`/v1/adapters/${at(name)}/rollback`, { body: {} }),
  pin: (name: string, pinned: boolean) => json(`/v1/adapters/${at(name)}/pin`, { body: { pinned } }),
  deleteAdapter: (name: string) => call(`/v1/adapters/${at(name)}`, { method: "DELETE" }),
  deleteVersion: (name: string, version: number) =>
    call(`/v1/adapters/${at(name)}/versions/${version}`, { method: "DELETE" }),
  /** FormData: name, publish, and the files as "files". */
  uploadAdapter: (form: FormData) => json<Adapter>("/v1/adapters", { body: form }),
  averageAdapters: (name: string, average: readonly string[]) =>
    json<Adapter>("/v1/adapters", { body: { name, from: { compose: { average } }, publish: true } }),

  files: (signal?: AbortSignal) => json<List<TrainingFile>>("/v1/files?purpose=fine-tune&limit=100", { signal }),
  uploadFile(file: File) {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", file);
    return json<TrainingFile>("/v1/files", { body: form });
  },

  /** The newest first; `after` the last one that is known. */
  jobs: (after: string | undefined, signal?: AbortSignal) =>
    json<List<Job>>(`/v1/fine_tuning/jobs?limit=50${after === undefined ? "" : `&after=${at(after)}`}`, { signal }),
  job: (id: string, signal?: AbortSignal) => json<Job>(`/v1/fine_tuning/jobs/${at(id)}`, { signal }),
  createJob: (body: object) => json<Job>("/v1/fine_tuning/jobs", { body }),
  changeJob: (id: string, change: "cancel" | "pause" | "resume") =>
    json<Job>(`/v1/fine_tuning/jobs/${at(id)}/${change}`, { body: {} }),
  checkpoints: (id: string, signal?: AbortSignal) =>
    json<List<Checkpoint>>(`/v1/fine_tuning/jobs/${at(id)}/checkpoints`, { signal }),
  /** Server-sent events, those after `lastId` and then live until the job ends. */
  openJobEvents: (id: string, lastId: string | undefined, signal: AbortSignal) =>
    call(`/v1/fine_tuning/jobs/${at(id)}/events?stream=true`, {
      headers: { accept: "text/event-stream", ...(lastId === undefined ? {} : { "last-event-id": lastId }) },
      signal,
    }),

  runs: (signal?: AbortSignal) => json<List<Run>>("/v1/runs?limit=100", { signal }),
  run: (id: string, signal?: AbortSignal) => json<Run>(`/v1/runs/${at(id)}`, { signal }),
};
