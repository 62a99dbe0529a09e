/**
 * What may follow a text: derivatives of a grammar (Antimirov 1996, "Partial derivatives of regular expressions"), with a stack for its rules. States are made when a
 * text first leads to them, and kept.
 */
import { ConfigError } from "../../errors/index.ts";
import { EMPTY, type Node, repeat, type Repeat } from "./_grammar.ts";

/** A way to go on: `node`, then `next`. Equal ways are the same object. */
interface Way {
  readonly id: number;
  readonly node: Node;
  readonly next: Way | undefined;
  readonly above: Map<Node, Way>;
  short: Way | undefined;
}

/** All ways that are open behind a text. */
export interface State {
  /** The text may end here. */
  readonly isEnd: boolean;
  /** Nothing may follow. */
  readonly isDead: boolean;
}

interface OpenState extends State {
  readonly ways: readonly Way[];
  readonly after: (OpenState | null | undefined)[];
  short: OpenState | undefined;
}

/** States kept, each about 3 kB, and ways made or held by them. */
const MAX_STATES = 4096;
const MAX_WAYS = 500_000;
/** Ways open at once. */
const MAX_OPEN = 8192;
/** Ways looked at for one token: some tenths of a second. */
const MAX_WORK = 1_000_000;

export class Automaton {
  readonly #root: Node;
  #ways = 0;
  #states = new Map<string, OpenState>();
  #repeats = new Map<Node, Map<string, Node>>();
  #kept = 0;
  #work = 0;
  #ends: Way = this.#makeWay(EMPTY, undefined);
  readonly #horizon: number;
  readonly #onReset: () => void;

  /** `horizon`: bytes of the longest token. onReset: states that were given out are forgotten, though they stay usable. */
  constructor(root: Node, horizon: number, onReset: () => void) {
    this.#root = root;
    this.#horizon = horizon;
    this.#onReset = onReset;
  }

  start(): State {
    return this.#state([this.#way(this.#root, this.#ends)]);
  }

  /** Allows for as much work as one token may cost. */
  beginToken(): void {
    this.#work = 0;
  }

  /** The state behind one more byte; undefined where it may not follow. Throws ConfigError where too many ways are open to follow them all in time. */
  step(state: State, byte: number): State | undefined {
    const from = state as OpenState;
    let to = from.after[byte];
    if (to === undefined) {
      const open: Way[] = [];
      this.#spend(from.ways.length);
      for (const { node, next } of from.ways) if (node.kind === "byte" && node.set[byte] === 1) open.push(next!);
      to = open.length === 0 ? null : this.#state(open);
      from.after[byte] = to;
    }
    return to ?? undefined;
  }

  /** A state that any one token sees as this one: counts beyond the longest token are the same to it. There are few of these. */
  seenByToken(state: State): State {
    const from = state as OpenState;
    from.short ??= this.#intern(
      from.ways.map((way) => this.#shorten(way)),
      from.isEnd,
    );
    return from.short;
  }

  /** Opens rules, choices and repeats until only bytes are next. */
  #state(open: Way[]): OpenState {
    const seen = new Set(open);
    const ways: Way[] = [];
    let isEnd = false;
    const add = (way: Way): void => {
      if (seen.has(way)) return;
      seen.add(way);
      open.push(way);
    };
    for (let way = open.pop(); way; way = open.pop()) {
      const { node, next } = way;
      this.#spend(1);
      if (!next) isEnd = true;
      else if (node.kind === "byte") ways.push(way);
      else if (node.kind === "seq") add(node.parts.reduceRight((rest, part) => this.#way(part, rest), next));
      else if (node.kind === "alt") for (const part of node.parts) add(this.#way(part, next));
      else if (node.kind === "rule") add(this.#way(node.body, next));
      else {
        if (node.min === 0) add(next);
        const { body, min, max } = node;
        const isStar = min === 0 && max === Number.POSITIVE_INFINITY;
        add(this.#way(body, isStar ? way : this.#way(this.#repeat(body, Math.max(0, min - 1), max - 1), next)));
      }
      if (ways.length > MAX_OPEN) throw tooAmbiguous();
    }
    return this.#intern(ways, isEnd);
  }

  #intern(given: readonly Way[], isEnd: boolean): OpenState {
    const ways = [...new Set(given)].toSorted((a, b) => a.id - b.id);
    const key = `${isEnd ? "." : ""}${ways.map(({ id }) => id).join()}`;
    let state = this.#states.get(key);
    if (!state) {
      if (this.#states.size >= MAX_STATES || this.#kept >= MAX_WAYS) this.#reset();
      this.#kept += ways.length;
      state = { ways, isEnd, isDead: ways.length === 0, after: Array.from({ length: 256 }), short: undefined };
      this.#states.set(key, state);
    }
    return state;
  }

  #way(node: Node, next: Way): Way {
    if (node === EMPTY) return next;
    let way = next.above.get(node);
    if (!way) next.above.set(node, (way = this.#makeWay(node, next)));
    return way;
  }

  #makeWay(node: Node, next: Way | undefined): Way {
    this.#kept++;
    return { id: this.#ways++, node, next, above: new Map(), short: undefined };
  }

  #repeat(body: Node, min: number, max: number): Node {
    const own = this.#repeats.get(body) ?? new Map<string, Node>();
    this.#repeats.set(body, own);
    const key = `${min},${max}`;
    const node = own.get(key) ?? repeat(body, min, max);
    own.set(key, node);
    return node;
  }

  #shorten(way: Way): Way {
    const chain: Way[] = [];
    for (let at: Way | undefined = way; at && !at.short; at = at.next) chain.push(at);
    for (const at of chain.toReversed()) {
      const next = at.next?.short;
      at.short = next ? this.#way(at.node.kind === "repeat" ? this.#within(at.node) : at.node, next) : at;
    }
    return way.short!;
  }

  #within({ body, min, max }: Repeat): Node {
    const reach = this.#horizon;
    return this.#repeat(body, Math.min(min, reach), max >= reach ? Number.POSITIVE_INFINITY : max);
  }

  #spend(work: number): void {
    this.#work += work;
    if (this.#work > MAX_WORK) throw tooAmbiguous();
  }

  /** Forgets all states. Those in use go on, and make new ones. */
  #reset(): void {
    for (const state of this.#states.values()) {
      state.after.fill(undefined);
      state.short = undefined;
    }
    this.#states.clear();
    this.#repeats.clear();
    this.#kept = 0;
    this.#ends = this.#makeWay(EMPTY, undefined);
    this.#onReset();
  }
}

function tooAmbiguous(): ConfigError {
  return new ConfigError(
    "response_format: the schema leaves too many ways open to follow: simplify its patterns, nested counts or choices",
  );
}
