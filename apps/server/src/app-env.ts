/** What middleware leaves for the routes. */
import type { Logger } from "pino";
import type { KeyIdentity } from "./db/index.ts";

export interface AppEnv {
  Variables: {
    requestId: string;
    /** With the request's id. */
    log: Logger;
    /** Whose request it is; keyId "" for the key of the command line, and for everybody where there are no keys. */
    identity: KeyIdentity;
    bodyTimeoutMs: number;
    /** Counts against the key's tokens per minute. */
    spendTokens: (tokens: number) => Promise<void>;
  };
}
