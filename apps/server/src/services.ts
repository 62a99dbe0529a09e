/** What the routes work with. Tests pass their own. */
import type { Engine } from "@graft/core/engine";
import type { Tokenizer } from "@graft/core/text";
import type { Store } from "./db/store.ts";

export interface Services {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly store: Store;
  /** Name the base answers to. */
  readonly modelName: string;
  readonly apiKey: string | undefined;
  /** Bytes of a request body at the most. */
  readonly bodyLimit: number;
  readonly now: () => Date;
  readonly newId: (prefix: string) => string;
}
