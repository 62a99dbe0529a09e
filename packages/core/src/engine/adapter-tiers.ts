/**
 * Where the bytes of adapter versions are: disk, RAM, device, each of the last two under a budget. What is not in use gives way, the least recently used first.
 * A version on the device keeps its copy in RAM only while nothing else needs that room, and the copy counts.
 */
import { ConfigError } from "../errors/index.ts";
import type { AdapterWeights } from "../nn/index.ts";
import { HostTier } from "./_host-tier.ts";
import { labelOf, readVersion } from "./_read-version.ts";
import type { AdapterLoader, BankedVersion, HostAdapter, VersionInfo } from "./adapter-version.ts";

export interface TierOptions {
  /** Most bytes of values in RAM, and of weights on the device; those of a read or a free() under way count. */
  readonly hostBytes: number;
  readonly deviceBytes: number;
  /** Folders that are read at the same time on their way to the device; default 2. */
  readonly maxReads?: number;
  /** Waits until no pass uses the weights, then destroys them. */
  free(weights: AdapterWeights): Promise<void>;
  /** A version that was asked for is on the device now or has failed: ask again. */
  onReady(): void;
}

export interface TierStats {
  readonly adaptersOnDevice: number;
  readonly bytesOnDevice: number;
  readonly bytesOnHost: number;
  /** Folders read on the way to the device, uploads, and versions that gave way on the device, since the start. */
  readonly reads: number;
  readonly loads: number;
  readonly evictions: number;
}

export class AdapterTiers {
  #loader: AdapterLoader;
  #options: TierOptions;
  #maxReads: number;
  #pathsOf: (version: BankedVersion) => Iterable<string>;

  #host: HostTier;
  /** On the device and not pinned: in use by nobody (the least recently used first), in use (the longest first), come for a request that has not entered yet. */
  #idle = new Set<BankedVersion>();
  #busy = new Set<BankedVersion>();
  #awaited = new Set<BankedVersion>();
  /** Asked for, the first first; and to be read ahead. */
  #wanted = new Set<BankedVersion>();
  #ahead = new Set<BankedVersion>();
  /** In use, and closed to more requests so that the first of the wanted gets room. */
  #closing = new Set<BankedVersion>();

  #deviceUsed = 0;
  #deviceFreeing = 0;
  #pinnedBytes = 0;
  #onDevice = 0;
  #reading = 0;
  #reads = 0;
  #loads = 0;
  #evictions = 0;
  #questions = 0;
  #underWay = new Set<Promise<void>>();
  #freeFailure: unknown;

  /** `pathsOf`: folders that a version may be read from. */
  constructor(loader: AdapterLoader, options: TierOptions, pathsOf: (version: BankedVersion) => Iterable<string>) {
    this.#loader = loader;
    this.#options = options;
    this.#host = new HostTier(options.hostBytes);
    this.#maxReads = options.maxReads ?? 2;
    this.#pathsOf = pathsOf;
  }

  stats(): TierStats {
    return {
      adaptersOnDevice: this.#onDevice,
      bytesOnDevice: this.#deviceUsed,
      bytesOnHost: this.#host.used,
      reads: this.#reads,
      loads: this.#loads,
      evictions: this.#evictions,
    };
  }

  /** Throws ConfigError for an adapter that no budget could ever hold. */
  checkSize(name: string, { bytes }: VersionInfo): void {
    const error = this.#tooLarge(`adapter "${name}"`, bytes);
    if (error) throw error;
  }

  /** Throws ConfigError if the pins would exceed the device's budget with `version` pinned and `instead` of it one less. */
  checkPin(name: string, version: BankedVersion, instead: BankedVersion | undefined): void {
    if (version.pins > 0 || version === instead) return;
    const { bytes } = version.info;
    const others = this.#pinnedBytes - (instead?.pins === 1 ? instead.info.bytes : 0);
    if (others + bytes > this.#options.deviceBytes)
      throw new ConfigError(
        `adapter "${name}": cannot be pinned, it needs ${bytes} bytes and the pinned ones take ${others} of the device budget of ${this.#options.deviceBytes}; unpin one, or raise the budget`,
      );
  }

  /** One more pinned name; brings the version to the device. checkPin() comes first. */
  pin(version: BankedVersion): void {
    if (version.pins++ > 0) return;
    this.#pinnedBytes += version.info.bytes;
    this.#place(version);
    if (!version.weights && !version.fault) this.#wanted.add(version);
    this.#pump();
  }

  unpin(version: BankedVersion): void {
    if (--version.pins > 0) return;
    this.#pinnedBytes -= version.info.bytes;
    this.#place(version);
    this.withdraw(version);
    this.#pump();
  }

  /** Takes values that were just read, if there is room for them in RAM that no waiting request needs more. */
  offer(version: BankedVersion, host: HostAdapter): void {
    if (version.host || version.weights) return;
    if (version.bringing) {
      // The read under way has its room already.
      version.host = host;
      return;
    }
    if (!this.#host.makeRoom(host.info.bytes, false)) return;
    this.#host.claim(version);
    version.host = host;
    this.#host.keep(version);
  }

  /** The version may be read again after a failure. */
  mend(version: BankedVersion): void {
    version.fault = undefined;
    if (version.pins > 0 && !version.weights) this.#wanted.add(version);
    this.#pump();
  }

  /** See AdapterBank.enter. */
  enter(version: BankedVersion): boolean {
    const now = ++this.#questions;
    if (version.fault) return false;
    if (version.weights && !this.#closing.has(version)) {
      version.entered++;
      this.#wanted.delete(version);
      this.#awaited.delete(version);
      this.#place(version);
      return true;
    }
    this.#passOver(version);
    version.askedAt = now;
    version.misfit = this.#misfitOf(version);
    if (!version.misfit && !this.#wanted.has(version)) {
      this.#wanted.add(version);
      this.#ahead.delete(version);
      this.#pump();
    }
    return false;
  }

  leave(version: BankedVersion): void {
    version.entered--;
    this.#place(version);
    if (this.#wanted.size > 0) this.#pump();
  }

  /** See AdapterBank.prefetch. */
  prefetch(version: BankedVersion): void {
    if (version.weights || version.bringing || version.error || this.#wanted.has(version)) return;
    this.#ahead.add(version);
    this.#pump();
  }

  /** Nobody waits for the version any more, unless it is pinned or held. */
  withdraw(version: BankedVersion): void {
    if (version.pins > 0 || version.holders > 0) return;
    this.#ahead.delete(version);
    const wasWanted = this.#wanted.delete(version);
    if (this.#awaited.delete(version) || wasWanted) {
      this.#place(version);
      this.#pump();
    }
  }

  /** Frees all that a version has, which no name points at and nobody holds. Resolves when it is done. */
  async drop(version: BankedVersion): Promise<void> {
    this.withdraw(version);
    // What is under way ends by itself and finds that it is for nothing.
    if (version.bringing) return version.bringing;
    this.#host.drop(version);
    const freed = version.weights && this.#takeOff(version);
    this.#pump();
    await freed;
  }

  /** Resolves when no read, upload or free is under way. Throws what a free() threw. */
  async settle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
    if (this.#freeFailure !== undefined) throw this.#freeFailure;
  }

  /** Starts what can be started, in the order it was asked for: what finds no room holds back what came after it, so that none starves. */
  #pump(): void {
    const closedBefore = this.#closing;
    this.#closing = new Set();
    let isNews = false;
    for (const version of this.#wanted) {
      if (version.weights || version.bringing) continue;
      version.misfit = this.#misfitOf(version);
      if (version.misfit) {
        this.#wanted.delete(version);
        isNews = true;
        continue;
      }
      if (!version.host && (this.#reading >= this.#maxReads || !this.#host.makeRoom(version.info.bytes, true))) break;
      if (!this.#makeDeviceRoom(version.info.bytes)) break;
      this.#start(version, true);
    }
    for (const version of closedBefore)
      if (version.weights && !this.#closing.has(version)) isNews = this.#wanted.delete(version) || isNews;
    this.#readAhead();
    if (isNews) this.#options.onReady();
  }

  #readAhead(): void {
    for (const version of this.#ahead) {
      const { bytes } = version.info;
      if (!version.host && this.#reading >= this.#maxReads) return;
      this.#ahead.delete(version);
      if (version.weights || version.bringing || version.error) continue;
      const isForDevice = this.#wanted.size === 0 && this.#deviceUsed + bytes <= this.#options.deviceBytes;
      if (version.host ? isForDevice : this.#host.makeRoom(bytes, false)) this.#start(version, isForDevice);
    }
  }

  #start(version: BankedVersion, isForDevice: boolean): void {
    version.bringing = this.#track(this.#bring(version, isForDevice));
  }

  async #bring(version: BankedVersion, isForDevice: boolean): Promise<void> {
    const { bytes } = version.info;
    if (isForDevice) this.#deviceUsed += bytes;
    this.#host.claim(version);
    try {
      version.host = version.host ?? (await this.#read(version));
      if (isForDevice) {
        // An upload takes the thread: what else is due gets its turn before.
        await new Promise<void>((resume) => setImmediate(resume));
        if (version.holders > 0 || version.pins > 0) version.weights = version.host.upload();
      }
    } catch (error) {
      version.fault = asError(error);
    }
    version.bringing = undefined;
    if (version.weights) {
      this.#loads++;
      this.#onDevice++;
      version.readyAt = this.#questions;
    } else if (isForDevice) this.#deviceUsed -= bytes;
    const wasWanted = (version.weights || version.fault) !== undefined && this.#wanted.delete(version);
    this.#host.keep(version);
    if (version.names.size === 0 && version.holders === 0) return this.drop(version);
    if (version.weights && wasWanted && version.pins === 0 && version.holders > 0) this.#awaited.add(version);
    this.#place(version);
    this.#pump();
    if (version.weights || version.fault) this.#options.onReady();
  }

  async #read(version: BankedVersion): Promise<HostAdapter> {
    this.#reading++;
    try {
      const host = await readVersion(this.#loader, version, this.#pathsOf);
      this.#reads++;
      return host;
    } finally {
      this.#reading--;
    }
  }

  /** Why a version cannot come to the device whatever leaves it, as the pins are now. */
  #misfitOf(version: BankedVersion): ConfigError | undefined {
    const { bytes } = version.info;
    const { deviceBytes } = this.#options;
    const pinned = this.#pinnedBytes - (version.pins > 0 ? bytes : 0);
    const error = this.#tooLarge(labelOf(version), bytes);
    if (error || pinned + bytes <= deviceBytes) return error;
    return new ConfigError(
      `${labelOf(version)}: needs ${bytes} bytes, of the device budget of ${deviceBytes} pinned adapters take ${pinned}; unpin one, or raise the budget`,
    );
  }

  #tooLarge(label: string, bytes: number): ConfigError | undefined {
    const { hostBytes, deviceBytes } = this.#options;
    const [where, budget] = bytes > deviceBytes ? ["device", deviceBytes] : ["host", hostBytes];
    if (bytes <= budget) return undefined;
    return new ConfigError(
      `${label}: needs ${bytes} bytes, the ${where} budget for all adapters is ${budget}; raise it, or use a smaller adapter`,
    );
  }

  /** Room on the device at once, or false: then what is in the way goes, or is closed until its requests have ended. */
  #makeDeviceRoom(bytes: number): boolean {
    const { deviceBytes } = this.#options;
    let missing = this.#deviceUsed - this.#deviceFreeing + bytes - deviceBytes;
    for (const version of this.#idle) {
      if (missing <= 0) break;
      missing -= version.info.bytes;
      this.#evictions++;
      void this.#takeOff(version);
    }
    for (const version of this.#busy) {
      if (missing <= 0) break;
      missing -= version.info.bytes;
      this.#closing.add(version);
    }
    return this.#deviceUsed + bytes <= deviceBytes;
  }

  /** Its bytes count until free() is done. */
  #takeOff(version: BankedVersion): Promise<void> {
    const { bytes } = version.info;
    const weights = version.weights!;
    version.weights = undefined;
    this.#place(version);
    this.#host.keepAlone(version);
    this.#onDevice--;
    this.#deviceFreeing += bytes;
    return this.#track(this.#free(weights, bytes));
  }

  async #free(weights: AdapterWeights, bytes: number): Promise<void> {
    try {
      await this.#options.free(weights);
    } catch (error) {
      // A device that cannot free is lost: what comes next fails at its upload, and settle() tells.
      this.#freeFailure ??= error;
    }
    this.#deviceFreeing -= bytes;
    this.#deviceUsed -= bytes;
    this.#pump();
  }

  /** Puts a version into the list that says what may become of it on the device. */
  #place(version: BankedVersion): void {
    if (!version.weights || version.pins > 0) this.#awaited.delete(version);
    const isFree = version.weights !== undefined && version.pins === 0;
    const isIdle = isFree && version.entered === 0 && !this.#awaited.has(version);
    if (isIdle) this.#idle.add(version);
    else this.#idle.delete(version);
    // A set keeps the place of what is in it: `idle` is in the order of the last use, `busy` of the first entry.
    if (isFree && version.entered > 0) this.#busy.add(version);
    else this.#busy.delete(version);
  }

  /** What came for requests that were not let in while `asking` was asked for twice may give way to it: whatever order requests are tried in, one gets on. */
  #passOver(asking: BankedVersion): void {
    if (asking.bringing || !this.#wanted.has(asking)) return;
    for (const version of this.#awaited) {
      if (version.readyAt >= asking.askedAt) return;
      this.#awaited.delete(version);
      this.#place(version);
      this.#pump();
    }
  }

  #track(work: Promise<void>): Promise<void> {
    this.#underWay.add(work);
    return work.finally(() => this.#underWay.delete(work));
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));
