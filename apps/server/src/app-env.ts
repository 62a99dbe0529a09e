/** What middleware leaves for the routes. */
import type { Logger } from "pino";
import type { Identity } from "./auth.ts";

export interface AppEnv {
  Variables: {
    requestId: string;
    /** With the request's id. */
    log: Logger;
    identity: Identity;
    bodyTimeoutMs: number;
    /** Counts against the key's tokens per minute. */
    spendTokens: (tokens: number) => Promise<void>;
  };
}
