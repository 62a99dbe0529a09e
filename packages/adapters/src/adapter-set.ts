/** Named adapters on one loaded base, for programs: attached, activated, renamed and detached while the base stays as it is. */
import { type CountedVersion, type NamedVersion, NamedVersions, type VersionInfo } from "@graft/core/engine";
import { ConfigError } from "@graft/core/errors";
import type { BaseModel } from "@graft/core/models";
import type { AdapterParameter, AdapterWeights } from "@graft/core/nn";
import type { LoadedAdapter } from "./adapter.ts";
import { baseOf } from "./base.ts";
import type { Base } from "./method.ts";
import { openAdapter } from "./open-adapter.ts";

export interface NamedAdapter extends VersionInfo {
  readonly name: string;
}

export interface AttachedAdapter extends NamedAdapter {
  readonly isActive: boolean;
  readonly tensors: readonly AdapterParameter[];
}

interface UploadedVersion extends CountedVersion {
  readonly weights: AdapterWeights;
}

interface Entry extends NamedVersion<UploadedVersion> {
  readonly info: VersionInfo;
}

/**
 * Adapters of any methods over one base, of which there is one copy: each adds the bytes of its own tensors, the same bytes under two names once. Names are letters, digits and
 * `._:-`, at most 64, and unique.
 */
export class AdapterSet {
  readonly base: Base;
  readonly #model: BaseModel;
  readonly #names: NamedVersions<UploadedVersion, Entry>;
  readonly #free: (weights: AdapterWeights) => Promise<void>;
  #active: { name: string; readonly version: UploadedVersion }[] = [];

  /** `beforeFree`: for what keeps programs for an adapter, such as Generator.forget. The base stays the caller's. */
  constructor(
    model: BaseModel,
    options: { readonly beforeFree?: ((weights: AdapterWeights) => Promise<void>) | undefined } = {},
  ) {
    this.base = baseOf(model);
    this.#model = model;
    this.#free = async (weights) => {
      await options.beforeFree?.(weights);
      weights.destroy();
    };
    this.#names = new NamedVersions((version) => this.#free(version.weights));
  }

  /** Uploads a PEFT folder or a loaded adapter under a new name. Throws ConfigError for a name that is taken or is none, and what loading throws; the set is then as it was. */
  async attach(name: string, source: string | LoadedAdapter): Promise<NamedAdapter> {
    this.#checkName(name);
    if (this.#names.find(name))
      throw new ConfigError(`adapter name "${name}": is taken; detach or rename that one first`);
    const { info, weights } = openAdapter(this.#model, this.base, source);
    const known = this.#names.version(info.version);
    if (known) await this.#free(weights);
    const version = known ?? { id: info.version, weights, names: new Set(), holders: 0 };
    await this.#names.point({ name, version, info });
    return { ...info, name };
  }

  /** Frees an adapter; it is no longer active. Throws UnknownName. */
  async detach(name: string): Promise<void> {
    const held = this.#active.filter((entry) => entry.name === name);
    await this.#names.remove(name);
    this.#active = this.#active.filter((entry) => entry.name !== name);
    for (const { version } of held) await this.#names.release(version);
  }

  /** Makes one adapter active, or several in that order, or with undefined none. Throws UnknownName or ConfigError, and changes nothing then. */
  async activate(names: string | readonly string[] | undefined): Promise<void> {
    const wanted = names === undefined ? [] : typeof names === "string" ? [names] : names;
    const twice = wanted.find((name, i) => wanted.indexOf(name) !== i);
    if (twice !== undefined) throw new ConfigError(`adapter "${twice}": is to be activated twice`);
    const before = this.#active;
    const active: typeof before = [];
    try {
      for (const name of wanted) active.push({ name, version: this.#names.hold(name) });
      this.#active = active;
    } catch (error) {
      for (const { version } of active) await this.#names.release(version);
      throw error;
    }
    for (const { version } of before) await this.#names.release(version);
  }

  /** The active adapters in the order of activation: what a generator or a training step takes. */
  get active(): readonly { readonly name: string; readonly weights: AdapterWeights }[] {
    return this.#active.map(({ name, version }) => ({ name, weights: version.weights }));
  }

  list(): NamedAdapter[] {
    return this.#names.list().map(({ name, info }) => ({ ...info, name }));
  }

  /** Throws UnknownName. */
  inspect(name: string): AttachedAdapter {
    const { info, version } = this.#names.get(name);
    const isActive = this.#active.some((entry) => entry.name === name);
    return { ...info, name, isActive, tensors: version.weights.adapter.parameters };
  }

  /** Throws UnknownName, or ConfigError where the new name is taken or is none. */
  rename(from: string, to: string): NamedAdapter {
    this.#checkName(to);
    const entry = this.#names.get(from);
    this.#names.rename(from, { ...entry, name: to });
    for (const active of this.#active) if (active.name === from) active.name = to;
    return { ...entry.info, name: to };
  }

  /** Frees every adapter. */
  async destroy(): Promise<void> {
    await this.activate(undefined);
    for (const { name } of this.#names.list()) await this.#names.remove(name);
  }

  #checkName(name: string): void {
    if (/^[\w.:-]{1,64}$/.test(name)) return;
    throw new ConfigError(`adapter name ${JSON.stringify(name)}: is 1 to 64 letters, digits and . _ : -`);
  }
}
