/** What an adapter method is: how its config reads, which tensors it has, what it does at its sites, how it is merged. One file each in methods/. */
import type { Random } from "@graft/core/random";
import type { ModelSizes } from "@graft/core/models";
import type { Adapter, ModuleSite, Site } from "@graft/core/nn";
import type { z } from "zod";

/** What a method may know of the base it attaches to. Parameters are named by module and part; tied modules each have theirs. */
export interface Base {
  readonly sites: readonly Site[];
  readonly modelType: string;
  readonly sizes: ModelSizes;
  readonly parameters: readonly string[];
  /** Shape of a base parameter; undefined if there is none of that name. */
  shapeOf(name: string): readonly number[] | undefined;
  /** Base weights on the host, for initialisation and merging. */
  read(name: string): Promise<Float32Array>;
}

/** Where a config comes from: in a new one every target must be there; a file may, as in PEFT, name modules that other models have. */
export type ConfigOrigin = "new" | "file";

/** Shape of a tensor of an adapter's file, where a config alone does not say it; undefined if the file has none of that key. */
export type ShapeInFile = (key: string) => readonly number[] | undefined;

export interface Method<C = unknown> {
  /** Graft's name, as in `--adapter-name`. */
  readonly name: string;
  /** `peft_type` of adapter_config.json. */
  readonly peftType: string;
  /** Which configs of that peft_type are this method's, where several share it; exactly one of them must say yes to each. */
  readonly matches?: (config: C) => boolean;
  /** Config fields with PEFT's names and defaults. Unknown fields are kept. */
  readonly config: z.ZodType<C>;
  /** Config fields that say how large an adapter is ("r", "num_virtual_tokens"): what lists of adapters show. */
  readonly sizeFields?: readonly string[] | undefined;
  /** Settings of a very small adapter: the tests run over it on every architecture. */
  readonly tiny: Readonly<Record<string, unknown>>;
  /** What LLM-Adapters' finetune.py sets where its flags say nothing, or what makes a config this method's among those of its peft_type; where that is not the config's default. */
  readonly trainingDefaults?: Readonly<Partial<C>>;
  /** Fields that PEFT writes and takes from the base (token_dim, num_layers, ...): a new config gets those it leaves open. */
  complete?(base: Base): Readonly<Record<string, unknown>>;
  /** Binds a config to a base. `shapeInFile` is there when a file is read; `bindOther` is for what is made of other adapters. Throws UnknownName or ConfigError, beginning with `where`. */
  bind(
    config: C,
    base: Base,
    where: string,
    origin: ConfigOrigin,
    shapeInFile: ShapeInFile | undefined,
    bindOther: BindOther,
  ): BoundMethod;
}

/** The change of one module's weight: scaling B A. */
export interface LowRankChange {
  readonly site: ModuleSite;
  readonly r: number;
  readonly scaling: number;
  /** Keys of A: [r, in] and B: [out, r]; on an embedding [r, rows] and [columns, r]. */
  readonly a: string;
  readonly b: string;
}

/** `rank`: the largest r that the config names. */
export interface LowRank {
  readonly rank: number;
  readonly changes: readonly LowRankChange[];
}

/** Binds the config of any method. */
export type BindOther = (
  config: { readonly peft_type: string },
  base: Base,
  where: string,
  origin: ConfigOrigin,
  shapeInFile: ShapeInFile | undefined,
) => BoundMethod;

export interface BoundMethod extends Adapter {
  /** A fresh adapter leaves the base's function as it is. */
  readonly startsAsIdentity: boolean;
  /** Config fields as they were really used, defaults included: what the file of a new adapter says. */
  readonly settledConfig?: Readonly<Record<string, unknown>>;
  /** Config fields whose numbers a file spells with a decimal point: Python readers may tell 4.0 from 4. */
  readonly floatFields?: readonly string[];
  /** Fresh values of every parameter. */
  initialise(random: Random): Promise<Map<string, Float32Array>>;
  /** The base parameters that merging changes, each computed when asked for: one at a time is in memory. Or why the method cannot be merged. */
  readonly merge:
    | ((values: ReadonlyMap<string, Float32Array>) => ReadonlyMap<string, () => Promise<Float32Array>>)
    | { readonly impossible: string };
  /** All that the adapter does, where that is a product of two of its tensors added to each weight; or what it does besides. Undefined where the method has no such form. */
  readonly lowRank?: LowRank | { readonly impossible: string };
  /**
   * The same function as an adapter that other programs read: config fields that change, values, and what they are bound to where the config alone does not say it. Undefined where that is the adapter as it is.
   * A checkpoint keeps what training needs; what is saved for use goes through this.
   */
  readonly toPlain?: (values: ReadonlyMap<string, Float32Array>) =>
    | {
        readonly config: object;
        readonly values: Map<string, Float32Array>;
        readonly bound?: BoundMethod;
      }
    | undefined;
  /** What to do about a file that lacks one of the parameters: the end of the message. */
  readonly missing?: string;
  /** Other keys under which files of other versions keep a parameter. */
  readonly aliases?: ReadonlyMap<string, string>;
  /** Parameters that a file may lack, because they follow from the config; they are written only where they were read. */
  readonly derived?: ReadonlyMap<string, () => Float32Array>;
  /** Tensors of the base that PEFT saves beside the parameters (an embedding or output layer under a LoRA); a file may lack them. */
  readonly savedBase: readonly { readonly key: string; readonly parameter: string }[];
}

export function defineMethod<C>(method: Method<C>): Method<C> {
  return method;
}
