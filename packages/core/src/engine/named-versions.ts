/** Names that point at immutable versions. A version lives as long as a name points at it or someone holds it. */
import { ConfigError, suggest, UnknownName } from "../errors/index.ts";

export interface CountedVersion {
  readonly id: string;
  readonly names: Set<string>;
  holders: number;
}

export interface NamedVersion<V extends CountedVersion> {
  readonly name: string;
  readonly version: V;
}

export class NamedVersions<V extends CountedVersion, E extends NamedVersion<V> = NamedVersion<V>> {
  #entries = new Map<string, E>();
  #versions = new Map<string, V>();
  #forget: (version: V) => Promise<void>;

  /** `forget` frees what nothing points at and nobody holds any more. */
  constructor(forget: (version: V) => Promise<void>) {
    this.#forget = forget;
  }

  get size(): number {
    return this.#entries.size;
  }

  list(): readonly E[] {
    return [...this.#entries.values()];
  }

  find(name: string): E | undefined {
    return this.#entries.get(name);
  }

  /** Throws UnknownName. */
  get(name: string): E {
    const entry = this.#entries.get(name);
    if (!entry) throw new UnknownName(`no adapter named "${name}"${suggest(name, this.#entries.keys())}`);
    return entry;
  }

  /** Of all that a name points at or somebody holds. */
  ids(): readonly string[] {
    return [...this.#versions.keys()];
  }

  version(id: string): V | undefined {
    return this.#versions.get(id);
  }

  /** Points a name at a version, at once. Resolves when the version it pointed at before is freed, if it was its last name. */
  async point(entry: E): Promise<void> {
    const before = this.#entries.get(entry.name);
    this.#entries.set(entry.name, entry);
    this.#versions.set(entry.version.id, entry.version);
    entry.version.names.add(entry.name);
    if (before && before.version !== entry.version) await this.#drop(before);
  }

  /** The name is gone at once. Resolves when its version is freed, if that was its last name and nobody holds it. Throws UnknownName. */
  async remove(name: string): Promise<void> {
    const entry = this.get(name);
    this.#entries.delete(name);
    await this.#drop(entry);
  }

  /** Gives a version another name. Throws UnknownName, or ConfigError where the new name is taken. */
  rename(from: string, renamed: E): void {
    const { version } = this.get(from);
    if (from === renamed.name) return;
    if (this.#entries.has(renamed.name)) throw new ConfigError(`there is an adapter named "${renamed.name}" already`);
    this.#entries.delete(from);
    version.names.delete(from);
    this.#entries.set(renamed.name, renamed);
    version.names.add(renamed.name);
  }

  /** The version a name points at now, held until release(). Throws UnknownName. */
  hold(name: string): V {
    const { version } = this.get(name);
    version.holders++;
    return version;
  }

  /** Resolves when the version is freed, if this was the last that kept it. */
  async release(version: V): Promise<void> {
    version.holders--;
    await this.#settle(version);
  }

  async #drop({ name, version }: E): Promise<void> {
    version.names.delete(name);
    await this.#settle(version);
  }

  async #settle(version: V): Promise<void> {
    if (version.holders > 0 || version.names.size > 0) return;
    if (this.#versions.get(version.id) === version) this.#versions.delete(version.id);
    await this.#forget(version);
  }
}
