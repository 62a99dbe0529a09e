/** Adapters by name. A name points at an immutable version; a version is freed when no name and no request holds it. */
import { ConfigError, suggest, UnknownName } from "../errors/index.ts";
import type { AdapterWeights } from "../nn/index.ts";
import type { AdapterInfo } from "./engine.ts";

export interface OpenedAdapter {
  readonly info: Omit<AdapterInfo, "name">;
  readonly weights: AdapterWeights;
}

export interface Version {
  readonly id: string;
  readonly weights: AdapterWeights;
  holders: number;
}

export class AdapterBank {
  #byName = new Map<string, { info: AdapterInfo; version: Version }>();
  #versions = new Map<string, Version>();
  #free: (weights: AdapterWeights) => Promise<void>;

  /** `free` is called when the last holder of a version lets go. */
  constructor(free: (weights: AdapterWeights) => Promise<void>) {
    this.#free = free;
  }

  list(): AdapterInfo[] {
    return [...this.#byName.values()].map((entry) => entry.info);
  }

  /** Points `name` at a version. Bytes that are loaded already are not kept twice. */
  async publish(name: string, opened: OpenedAdapter): Promise<AdapterInfo> {
    const known = this.#versions.get(opened.info.version);
    if (known) await this.#free(opened.weights);
    const version = known ?? { id: opened.info.version, weights: opened.weights, holders: 0 };
    this.#versions.set(version.id, version);
    version.holders++;
    const before = this.#byName.get(name);
    const info = { ...opened.info, name };
    this.#byName.set(name, { info, version });
    if (before) await this.release(before.version);
    return info;
  }

  async remove(name: string): Promise<void> {
    const entry = this.#entry(name);
    this.#byName.delete(name);
    await this.release(entry.version);
  }

  /** Throws UnknownName, or ConfigError where the new name is taken. */
  rename(from: string, to: string): AdapterInfo {
    const { info, version } = this.#entry(from);
    if (from === to) return info;
    if (this.#byName.has(to)) throw new ConfigError(`there is an adapter named "${to}" already`);
    const renamed = { ...info, name: to };
    this.#byName.delete(from);
    this.#byName.set(to, { info: renamed, version });
    return renamed;
  }

  /** What a name stands for now, not held. Throws UnknownName. */
  look(name: string): { readonly info: AdapterInfo; readonly weights: AdapterWeights } {
    const { info, version } = this.#entry(name);
    return { info, weights: version.weights };
  }

  /** The version a name points at now, held until release(). Throws UnknownName. */
  hold(name: string): Version {
    const { version } = this.#entry(name);
    version.holders++;
    return version;
  }

  async release(version: Version): Promise<void> {
    version.holders--;
    if (version.holders > 0) return;
    this.#versions.delete(version.id);
    await this.#free(version.weights);
  }

  async clear(): Promise<void> {
    for (const name of this.#byName.keys()) await this.remove(name);
  }

  #entry(name: string) {
    const entry = this.#byName.get(name);
    if (!entry) throw new UnknownName(`no adapter named "${name}"${suggest(name, this.#byName.keys())}`);
    return entry;
  }
}
