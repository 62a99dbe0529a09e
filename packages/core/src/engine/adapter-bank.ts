/** Adapters by name. A name points at an immutable version; a version is forgotten when no name points at it and no request holds it. */
import { AdapterTiers, type TierOptions, type TierStats } from "./adapter-tiers.ts";
import {
  type AdapterLoader,
  type BankedVersion,
  difference,
  type HostAdapter,
  newVersion,
  type Version,
  type VersionInfo,
} from "./adapter-version.ts";
import type { AdapterInfo } from "./engine.ts";
import { NamedVersions } from "./named-versions.ts";

interface Entry {
  readonly name: string;
  readonly version: BankedVersion;
  readonly path: string;
  readonly isPinned: boolean;
}

export interface BankStats extends TierStats {
  readonly adapters: number;
}

/**
 * A request holds its version from its arrival to its end, and enters it for as long as it runs. What it has entered stays on the device; everything else on the
 * device may give way, but for pinned names.
 */
export class AdapterBank {
  #loader: AdapterLoader;
  #names: NamedVersions<BankedVersion, Entry>;
  #tiers: AdapterTiers;
  /** Loads follow each other, so that of two for one name the later wins and one folder at a time is in RAM before it is counted. */
  #loading: Promise<unknown> = Promise.resolve();

  constructor(loader: AdapterLoader, options: TierOptions) {
    this.#loader = loader;
    this.#names = new NamedVersions((version) => this.#tiers.drop(version));
    this.#tiers = new AdapterTiers(loader, options, (version) => this.#pathsOf(version));
  }

  stats(): BankStats {
    return { ...this.#tiers.stats(), adapters: this.#names.size };
  }

  list(): AdapterInfo[] {
    return this.#names.list().map(describe);
  }

  /** Versions that a name points at or a request holds: their files may still have to be read. */
  keptVersions(): readonly string[] {
    return this.#names.ids();
  }

  get(name: string): AdapterInfo | undefined {
    const entry = this.#names.find(name);
    return entry && describe(entry);
  }

  /**
   * Reads a folder, checks it and points `name` at its version; the same bytes are kept once whatever the names. Pinned as asked, or as the name was. Throws what the
   * loader throws, and ConfigError for what the budgets cannot hold; everything is then as it was.
   */
  load(
    name: string,
    path: string,
    { isPinned }: { readonly isPinned?: boolean | undefined } = {},
  ): Promise<AdapterInfo> {
    const loaded = this.#loading.then(async () => {
      const host = await this.#loader.read(path);
      this.#tiers.checkSize(name, host.info);
      const version = this.#versionOf(host.info);
      return this.#point({ name, path, version, isPinned: isPinned ?? this.get(name)?.isPinned ?? false }, host);
    });
    this.#loading = loaded.catch(() => undefined);
    return loaded;
  }

  /**
   * Points `name` at a version that was checked before, without reading it: it is read at first use, and if its files are not those any more, or no budget holds it, `error` of
   * the version says so. Throws ConfigError where the pinned ones would exceed the budget.
   */
  register(info: Omit<AdapterInfo, "tier">): AdapterInfo {
    const { name, path, isPinned } = info;
    return this.#point({ name, path, version: this.#versionOf(info), isPinned });
  }

  /** A pinned name's version comes to the device and stays there. Throws UnknownName, or ConfigError where the pinned ones would exceed the budget. */
  pin(name: string, isPinned: boolean): AdapterInfo {
    const entry = this.#names.get(name);
    return entry.isPinned === isPinned ? describe(entry) : this.#point({ ...entry, isPinned });
  }

  /** New requests no longer find the name. Resolves when its version is freed, if nothing else keeps it. Throws UnknownName. */
  async remove(name: string): Promise<void> {
    const { version, isPinned } = this.#names.get(name);
    if (isPinned) this.#tiers.unpin(version);
    await this.#names.remove(name);
  }

  /** The version a name points at now, kept until release(). Throws UnknownName. */
  hold(name: string): Version {
    const version = this.#names.hold(name);
    // Pins may have changed since.
    version.misfit = undefined;
    return version;
  }

  /** Of a version that was left. Resolves when it is freed, if nothing else keeps it. */
  async release(version: Version): Promise<void> {
    const banked = version as BankedVersion;
    if (banked.entered >= banked.holders)
      throw new Error(`adapter version ${version.id} was released before it was left`);
    const released = this.#names.release(banked);
    this.#tiers.withdraw(banked);
    await released;
  }

  /**
   * For a held version, when its request could run now. True: it is on the device and stays there until leave(). False: it is on its way, and onReady() tells when to ask again;
   * or `error` says why it never will be. It may be on the device and closed because another has waited for its room; so go on to requests of other adapters when it is false.
   */
  enter(version: Version): boolean {
    return this.#tiers.enter(version as BankedVersion);
  }

  leave(version: Version): void {
    this.#tiers.leave(version as BankedVersion);
  }

  /** For a held version whose request has to wait: reads it ahead into room that nothing else needs. */
  prefetch(version: Version): void {
    this.#tiers.prefetch(version as BankedVersion);
  }

  /** Removes all names; resolves when everything that is not held is freed. Throws what freeing threw. */
  async clear(): Promise<void> {
    await this.#loading;
    await Promise.all(this.#names.list().map(({ name }) => this.remove(name)));
    await this.#tiers.settle();
  }

  #point(entry: Entry, host?: HostAdapter): AdapterInfo {
    const { name, version, isPinned } = entry;
    const before = this.#names.find(name);
    const pinnedBefore = before?.isPinned ? before.version : undefined;
    if (isPinned) this.#tiers.checkPin(name, version, pinnedBefore);
    if (host) this.#tiers.offer(version, host);
    if (isPinned) this.#tiers.pin(version);
    if (pinnedBefore) this.#tiers.unpin(pinnedBefore);
    // Freeing what it pointed at before goes on behind.
    void this.#names.point(entry);
    if (version.fault) this.#tiers.mend(version);
    return describe(entry);
  }

  /** The version that is known by this hash, or a new one; also where the known one was registered as something it is not. */
  #versionOf(info: VersionInfo): BankedVersion {
    const known = this.#names.version(info.version);
    return known && difference(known.info, info) === undefined ? known : newVersion(info);
  }

  *#pathsOf(version: BankedVersion): Iterable<string> {
    for (const name of version.names) yield this.#names.get(name).path;
  }
}

function describe({ name, version, path, isPinned }: Entry): AdapterInfo {
  return { ...version.info, name, path, isPinned, tier: version.tier };
}
