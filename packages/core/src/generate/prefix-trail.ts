/** Sharing what sequences begin with: they enter in an order that puts common beginnings next to each other, and each takes the full pages it has in common with the one before. */
import { DataError } from "../errors/index.ts";
import type { PageAllocator } from "./pages.ts";

/** A sequence that has not entered yet. */
export interface Entrant {
  /** What must be the same besides the ids: the adapter. */
  readonly owner: unknown;
  readonly ids: readonly number[];
  /** Tokens it may grow to: the longest go first, so that the last passes are full too. */
  readonly length: number;
}

/**
 * Indexes of sequences in their order of entry: depth first through the tree of their pages, the child with the longest sequence first, equals by index. Of all that
 * entered before, a sequence has most in common with the last.
 */
export function entryOrder(entrants: readonly Entrant[], pageSize: number): number[] {
  const order: number[] = [];
  const longest = (members: readonly number[]) => members.reduce((most, i) => Math.max(most, entrants[i]!.length), 0);
  const visit = (members: readonly number[], from: number): void => {
    let depth = from;
    const [first] = members.map((i) => entrants[i]!);
    while (members.length > 1 && members.every((i) => hasSamePage(entrants[i]!.ids, first!.ids, depth, pageSize)))
      depth++;
    const families = Map.groupBy(members, (i) => pageKey(entrants[i]!.ids, depth, pageSize) ?? i);
    for (const family of [...families.values()].toSorted((a, b) => longest(b) - longest(a) || a[0]! - b[0]!)) {
      if (family.length === 1) order.push(family[0]!);
      else visit(family, depth + 1);
    }
  };
  const owners = Map.groupBy(entrants.keys(), (i) => entrants[i]!.owner);
  for (const members of [...owners.values()].toSorted((a, b) => longest(b) - longest(a))) visit(members, 0);
  return order;
}

/** A sequence on its pages. */
export class PagedSequence {
  /** Grows with what is generated. */
  readonly ids: number[];
  readonly pages: number[];
  /** Tokens whose keys and values are in the cache, or will be with the pass that is being put together. */
  cached: number;
  /** The sequence that computes its first pages, and how many tokens they hold. */
  #leader: PagedSequence | undefined;
  #shared: number;

  constructor(ids: readonly number[], pages: number[], shared: number, leader: PagedSequence | undefined) {
    this.ids = [...ids];
    this.pages = pages;
    this.cached = shared;
    this.#shared = shared;
    this.#leader = leader;
  }

  /** May its rows stand in this pass, behind those of the sequences that entered before? */
  get isReady(): boolean {
    const leader = this.#leader;
    if (leader && leader.isReady && leader.cached >= this.#shared) this.#leader = undefined;
    return this.#leader === undefined;
  }

  release(allocator: PageAllocator): void {
    for (const page of this.pages.splice(0)) allocator.release(page);
  }
}

/** The pages of the sequence that entered last, held for the one that enters next. */
export class PrefixTrail {
  #allocator: PageAllocator;
  #pageSize: number;
  #owner: unknown;
  #last: PagedSequence | undefined;
  #ids: readonly number[] = [];
  #held: number[] = [];

  constructor(allocator: PageAllocator, pageSize: number) {
    this.#allocator = allocator;
    this.#pageSize = pageSize;
  }

  get heldPages(): number {
    return this.#held.length;
  }

  /** Gives a sequence pages for `tokens` tokens; undefined where those are not free, or, if it `mustFit`, DataError. */
  enter({ owner, ids }: Entrant, tokens: number, mustFit: boolean): PagedSequence | undefined {
    const common = owner === this.#owner ? Math.min(this.#held.length, sharedPages(this.#ids, ids, this.#pageSize)) : 0;
    this.#keep(common);
    const own = Math.ceil(tokens / this.#pageSize) - common;
    if (own > this.#allocator.free) {
      if (mustFit) throw new DataError(`a sequence needs ${own} pages, ${this.#allocator.free} of the cache are free`);
      return undefined;
    }
    const pages = [...this.#held];
    for (const page of pages) this.#allocator.share(page);
    for (let i = 0; i < own; i++) pages.push(this.#allocator.claim());
    const sequence = new PagedSequence(ids, pages, common * this.#pageSize, common > 0 ? this.#last : undefined);
    for (const page of pages.slice(common, Math.floor(ids.length / this.#pageSize))) {
      this.#allocator.share(page);
      this.#held.push(page);
    }
    this.#owner = owner;
    this.#ids = ids;
    this.#last = sequence;
    return sequence;
  }

  /** Lets go of everything. */
  clear(): void {
    this.#keep(0);
    this.#last = undefined;
  }

  #keep(pages: number): void {
    for (const page of this.#held.splice(pages)) this.#allocator.release(page);
  }
}

/** Full pages that `next` has in common with `before`. The last of its ids is never on one: something must be computed. */
export function sharedPages(before: readonly number[], next: readonly number[], pageSize: number): number {
  const most = Math.floor((next.length - 1) / pageSize);
  let pages = 0;
  while (pages < most && hasSamePage(before, next, pages, pageSize)) pages++;
  return pages;
}

/** Do both have this page, full and alike? */
function hasSamePage(a: readonly number[], b: readonly number[], page: number, pageSize: number): boolean {
  const end = (page + 1) * pageSize;
  if (a.length < end || b.length < end) return false;
  for (let i = end - pageSize; i < end; i++) if (a[i] !== b[i]) return false;
  return true;
}

function pageKey(ids: readonly number[], page: number, pageSize: number): string | undefined {
  const end = (page + 1) * pageSize;
  return ids.length < end ? undefined : ids.slice(end - pageSize, end).join();
}
