/** The server's API, typed by its routes. */
import { ConfigError } from "@graft/core/errors";
import type { AppType } from "@graft/server";
import { hc, type InferResponseType } from "hono/client";
import { z } from "zod";
import { config } from "../config.ts";
import { refusal, RemoteError, unreachable } from "./remote-error.ts";

/** Options of every command that talks to a server. */
export const serverOptions = {
  url: z
    .string()
    .refine(isServerUrl, "must be an address such as http://127.0.0.1:8000")
    .optional()
    .describe(`of the server (default: GRAFT_URL, or ${config.defaultServerUrl})`),
  apiKey: z.string().min(1).optional().describe("default: GRAFT_API_KEY"),
};

export type Api = ReturnType<typeof hc<AppType>>;

export interface Remote {
  /** Without a slash at the end, and without /v1. */
  readonly url: string;
  /** A call that comes back was answered with a status below 400. Throws RemoteError; the signal's reason once it is aborted. */
  readonly api: Api;
}

type Answer<Call extends (...args: never[]) => unknown> = InferResponseType<Call>;
export type Status = Answer<Api["v1"]["status"]["$get"]>;
export type Model = Answer<Api["v1"]["models"]["$get"]>["data"][number];
export type Job = Answer<Api["v1"]["fine_tuning"]["jobs"][":id"]["$get"]>;
export type Adapter = Answer<Api["v1"]["adapters"]["$get"]>["data"][number];
export type ApiKey = Answer<Api["v1"]["keys"]["$get"]>["data"][number];

/** Nothing is sent yet. Throws ConfigError for an address in GRAFT_URL that is none, and for a key that no header can carry. */
export function connect(
  given: { readonly url?: string | undefined; readonly apiKey?: string | undefined },
  signal: AbortSignal,
): Remote {
  const asked = given.url ?? config.serverUrl ?? config.defaultServerUrl;
  if (!isServerUrl(asked)) throw new ConfigError(`GRAFT_URL: "${asked}" is no address such as http://127.0.0.1:8000`);
  const url = asked.replace(/\/+$/, "").replace(/\/v1$/, "");
  const apiKey = given.apiKey ?? config.apiKey;
  // Checked here and not in the schema, whose messages quote what was given.
  if (apiKey !== undefined && !/^[\x21-\x7e]+$/.test(apiKey))
    throw new ConfigError("the API key has characters that no key has; give --api-key, or set GRAFT_API_KEY");
  const send = async (input: Parameters<typeof fetch>[0], init: RequestInit = {}): Promise<Response> => {
    const response = await answer(input, { ...init, signal: init.signal ?? signal }, url);
    if (!response.ok) throw await refusal(response, url);
    if (response.headers.get("content-type")?.startsWith("text/html"))
      throw new RemoteError(`${url}: answered with a web page; is a Graft server there?`);
    return response;
  };
  const headers: Record<string, string> = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  return { url, api: hc<AppType>(url, { fetch: send, headers }) };
}

async function answer(input: Parameters<typeof fetch>[0], init: RequestInit, url: string): Promise<Response> {
  try {
    return await fetch(input, init);
  } catch (error) {
    init.signal?.throwIfAborted();
    throw unreachable(url, error);
  }
}

function isServerUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}

/** The base that a server has: the model without a parent. Throws RemoteError if there is none. */
export async function baseName({ api, url }: Remote): Promise<string> {
  const { data } = await (await api.v1.models.$get()).json();
  const base = data.find(({ parent }) => parent === null);
  if (!base) throw new RemoteError(`${url}: lists no base model; is a Graft server there?`);
  return base.id;
}
