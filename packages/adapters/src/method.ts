/** What an adapter method is: how its config reads, which tensors it has, what it does at its sites, how it is merged. One file each in methods/. */
import type { Random } from "@graft/core/random";
import type { Adapter, Site } from "@graft/core/nn";
import type { z } from "zod";

/** What a method may know of the base it attaches to. */
export interface Base {
  readonly sites: readonly Site[];
  readonly modelType: string;
  /** Shape of a base parameter; undefined if there is none of that name. */
  shapeOf(name: string): readonly number[] | undefined;
  /** Base weights on the host, for initialisation and merging. */
  read(name: string): Promise<Float32Array>;
}

export interface Method<C = unknown> {
  /** Graft's name, as in `--adapter-name`. */
  readonly name: string;
  /** `peft_type` of adapter_config.json. */
  readonly peftType: string;
  /** Config fields with PEFT's names and defaults. Unknown fields are kept. */
  readonly config: z.ZodType<C>;
  /** Binds a config to a base. Throws UnknownName or ConfigError, beginning with `where`. */
  bind(config: C, base: Base, where: string): BoundMethod;
}

export interface BoundMethod extends Adapter {
  /** Fresh values of every parameter. */
  initialise(random: Random): Promise<Map<string, Float32Array>>;
  /** Base weights with the adapter folded in, by checkpoint name. Undefined where the method cannot be merged, with the reason. */
  readonly merge:
    | ((values: ReadonlyMap<string, Float32Array>) => Promise<Map<string, Float32Array>>)
    | { readonly impossible: string };
  /**
   * The same function as an adapter that other programs read: config fields that change, and values. Undefined where that is the adapter as it is.
   * A checkpoint keeps what training needs; what is saved for use goes through this.
   */
  readonly toPlain?: (values: ReadonlyMap<string, Float32Array>) => {
    readonly config: object;
    readonly values: Map<string, Float32Array>;
  };
  /** What to do about a file that lacks one of the parameters: the end of the message. */
  readonly missing?: string;
  /** Tensors the reference saves beside the parameters (PEFT saves the embedding under a LoRA on it). */
  readonly savedBase: readonly { readonly key: string; readonly parameter: string }[];
}

export function defineMethod<C>(method: Method<C>): Method<C> {
  return method;
}
