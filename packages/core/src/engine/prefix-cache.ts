/** Full pages of keys and values by what they are of: a version of an adapter, and all tokens from the first to the page's last. Pure bookkeeping, no device. */
import { PagePool } from "./page-pool.ts";

/** A page that is kept, after the one with what comes before it. */
export interface CachedPage {
  readonly page: number;
  readonly version: string;
  readonly before: CachedPage | undefined;
  readonly ids: readonly number[];
  readonly hash: number;
}

/**
 * Chains of full pages. A page is found by a hash over its chain; that it is the one is then seen from its ids and from the page before it, never from the hash.
 * Who holds a page holds those before it, and releases the last first: so of idle pages those at the end of a chain are given away first.
 */
export class PrefixCache {
  readonly pool: PagePool;
  readonly pageSize: number;
  #byHash = new Map<number, CachedPage[]>();
  #byPage = new Map<number, CachedPage>();

  constructor(pages: number, pageSize: number) {
    this.pageSize = pageSize;
    this.pool = new PagePool(pages, (page) => this.#forget(page));
  }

  /** The pages there are of what these ids begin with, at most `most`. Nobody holds them by this. */
  match(version: string, ids: readonly number[], most: number): CachedPage[] {
    const chain: CachedPage[] = [];
    while (chain.length < most) {
      const found = this.#find(version, chain.at(-1), ids, chain.length * this.pageSize);
      if (!found) break;
      chain.push(found);
    }
    return chain;
  }

  /** Keeps a held page that has the tokens of ids[begin, begin + pageSize), or tells which one with the same content is kept already. `before` is held too. */
  add(
    page: number,
    version: string,
    before: CachedPage | undefined,
    ids: readonly number[],
    begin: number,
  ): CachedPage {
    const known = this.#find(version, before, ids, begin);
    if (known) return known;
    const hash = hashOf(version, before, ids, begin, this.pageSize);
    const entry = { page, version, before, ids: ids.slice(begin, begin + this.pageSize), hash };
    this.pool.keep(page);
    this.#byPage.set(page, entry);
    const bucket = this.#byHash.get(hash);
    if (bucket) bucket.push(entry);
    else this.#byHash.set(hash, [entry]);
    return entry;
  }

  #find(
    version: string,
    before: CachedPage | undefined,
    ids: readonly number[],
    begin: number,
  ): CachedPage | undefined {
    const hash = hashOf(version, before, ids, begin, this.pageSize);
    return this.#byHash
      .get(hash)
      ?.find(
        (entry) =>
          entry.before === before && entry.version === version && entry.ids.every((id, i) => id === ids[begin + i]),
      );
  }

  #forget(page: number): void {
    const entry = this.#byPage.get(page)!;
    this.#byPage.delete(page);
    const rest = this.#byHash.get(entry.hash)!.filter((other) => other !== entry);
    if (rest.length > 0) this.#byHash.set(entry.hash, rest);
    else this.#byHash.delete(entry.hash);
  }
}

/** FNV-1a over what comes before, or the version, and 32 bits of each id at once. */
function hashOf(
  version: string,
  before: CachedPage | undefined,
  ids: readonly number[],
  begin: number,
  pageSize: number,
): number {
  let hash = before?.hash ?? 0x811c9dc5;
  const mix = (value: number): void => {
    hash = Math.imul(hash ^ value, 0x01000193);
  };
  if (!before) for (let i = 0; i < version.length; i++) mix(version.charCodeAt(i));
  for (let i = begin; i < begin + pageSize; i++) mix(ids[i]!);
  return hash >>> 0;
}
