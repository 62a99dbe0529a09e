/** Constrained decoding: the tokens that keep a text on its way to JSON that parses, and that is valid under a schema. */
import { ConfigError } from "../errors/index.ts";
import { Automaton, type State } from "./constraint/automaton.ts";
import { anyObject, checkSize, type Node, schemaGrammar } from "./constraint/json-schema.ts";
import { type Allowed, readTokenTree, type TokenTree, type TokenVocabulary } from "./constraint/token-tree.ts";

/** What a text must be: any JSON object, or JSON that is valid under a schema. */
export type Constraint = { readonly type: "json_object" } | { readonly type: "json_schema"; readonly schema: unknown };

/** One text on its way. */
export interface ConstraintMatcher {
  /**
   * Sets the scores of what may not follow to -Infinity; end tokens may follow where the text may end. Throws ConfigError where no token may follow, and where the
   * schema leaves too many ways open to follow them in time.
   */
  mask(scores: Float64Array): void;
  /** Goes on behind a token. Throws RangeError for one that the mask does not leave. */
  accept(id: number): void;
  /** The text is whole and nothing but its end may follow: generation is over, whether or not the model has an end token. */
  readonly isComplete: boolean;
}

export interface ConstraintCompiler {
  /**
   * A function that begins a text. Throws ConfigError naming the place in the schema of what cannot be kept (docs/decisions/0012 lists what can), and for a schema that is
   * too large.
   */
  compile(constraint: Constraint): Promise<() => ConstraintMatcher>;
}

/** Grammars kept: the one not used for the longest time goes first. */
const MAX_GRAMMARS = 16;
/** Bytes of the masks that are kept for each. */
const MAX_MASK_BYTES = 2 ** 22;

/** A compiler for one model's vocabulary, which is read at first use. vocabSize: of the scores. eosIds: tokens that end a text. */
export function createConstraintCompiler(
  tokenizer: TokenVocabulary,
  vocabSize: number,
  eosIds: readonly number[],
): ConstraintCompiler {
  let tree: Promise<TokenTree> | undefined;
  const grammars = new Map<string, () => ConstraintMatcher>();
  return {
    async compile(constraint) {
      if (constraint.type === "json_schema") checkSize(constraint.schema);
      const key = JSON.stringify(constraint);
      const known = grammars.get(key);
      const root = known ? undefined : grammarOf(constraint);
      tree ??= readTokenTree(tokenizer, vocabSize, eosIds);
      const begin = known ?? matchers(root!, await tree, eosIds);
      grammars.delete(key);
      grammars.set(key, begin);
      if (grammars.size > MAX_GRAMMARS) grammars.delete(grammars.keys().next().value!);
      return begin;
    },
  };
}

function grammarOf(constraint: Constraint): Node {
  return constraint.type === "json_object" ? anyObject : schemaGrammar(constraint.schema);
}

/** Matchers of one grammar, which share what they find out. */
function matchers(root: Node, tree: TokenTree, eosIds: readonly number[]): () => ConstraintMatcher {
  let masks = new Map<State, Allowed>();
  let bytes = 0;
  const forget = (): void => {
    masks = new Map();
    bytes = 0;
  };
  const automaton = new Automaton(root, tree.longest, forget);
  const allowedAt = (state: State): Allowed => {
    automaton.beginToken();
    const seen = automaton.seenByToken(state);
    let allowed = masks.get(seen);
    if (!allowed) {
      allowed = tree.allowed(automaton, seen);
      if (bytes >= MAX_MASK_BYTES) forget();
      bytes += "ids" in allowed ? allowed.ids.length * 4 : allowed.bits.byteLength;
      masks.set(seen, allowed);
    }
    return allowed;
  };
  return () => {
    let state = automaton.start();
    return {
      get isComplete() {
        return state.isEnd && state.isDead;
      },
      mask(scores) {
        const allowed = allowedAt(state);
        const ends = state.isEnd ? eosIds : [];
        if ("ids" in allowed) {
          const kept = [...allowed.ids, ...ends].map((id) => [id, scores[id]!] as const);
          if (kept.length === 0 && !state.isEnd)
            throw new ConfigError(
              "response_format: no token of the model's vocabulary goes on with what the schema asks for",
            );
          scores.fill(Number.NEGATIVE_INFINITY);
          for (const [id, score] of kept) if (id < scores.length) scores[id] = score;
          return;
        }
        const isEnd = new Set(ends);
        for (let id = 0; id < scores.length; id++) {
          const isAllowed = ((allowed.bits[id >>> 5]! >>> (id & 31)) & 1) === 1;
          if (!isAllowed && !isEnd.has(id)) scores[id] = Number.NEGATIVE_INFINITY;
        }
      },
      accept(id) {
        if (eosIds.includes(id) && state.isEnd) return;
        automaton.beginToken();
        let next: State | undefined = state;
        const text = tree.bytesOf(id);
        for (const byte of text ?? []) next = next && automaton.step(next, byte);
        if (!text || !next) throw new RangeError(`token ${id} may not follow: the constraint's mask leaves it out`);
        state = next;
      },
    };
  };
}
