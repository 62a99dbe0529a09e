/** What the adapter bank keeps: immutable versions of adapters, on disk, in RAM or on the device. */
import type { AdapterWeights } from "../nn/index.ts";
import type { AdapterInfo } from "./engine.ts";

/** Where the bytes of a version are nearest to the device. */
export type AdapterTier = "disk" | "host" | "device";

/** What is known of a version without its bytes. `version` is a hash of its files, `bytes` what it takes on the host and on the device each. */
export type VersionInfo = Omit<AdapterInfo, "name" | "isPinned" | "tier">;

/** An adapter that was read and checked, in RAM. */
export interface HostAdapter {
  readonly info: VersionInfo;
  /** Throws what making buffers throws. */
  upload(): AdapterWeights;
}

/** How adapter folders are read: the engine knows no methods. */
export interface AdapterLoader {
  /** Reads and checks a folder. Throws CheckpointError, ConfigError or UnknownName. */
  read(path: string): Promise<HostAdapter>;
}

/** What a request is tied to from its arrival to its end. */
export interface Version {
  readonly id: string;
  readonly info: VersionInfo;
  readonly tier: AdapterTier;
  /** There while it is on the device: for whoever entered it, until it leaves. */
  readonly weights: AdapterWeights | undefined;
  /** Why it cannot come to the device, and requests for it fail: CheckpointError for files that cannot be read again, ConfigError for a size no budget allows. */
  readonly error: Error | undefined;
}

/** A version as the bank sees it. */
export interface BankedVersion extends Version {
  weights: AdapterWeights | undefined;
  host: HostAdapter | undefined;
  /** Stays until the adapter is loaded or registered again. */
  fault: Error | undefined;
  /** As the pins are now. */
  misfit: Error | undefined;
  readonly names: Set<string>;
  /** Requests from their arrival to their end; of these, those that run. */
  holders: number;
  entered: number;
  /** Names that are pinned. */
  pins: number;
  /** Ends when a read or an upload under way does; never rejects. */
  bringing: Promise<void> | undefined;
  /** When a request last asked for it in vain, and when it came to the device, counted in questions. */
  askedAt: number;
  readyAt: number;
}

/** A version that nothing points at yet and that is on disk. */
export function newVersion(info: VersionInfo): BankedVersion {
  const { version: id, path, method, parameters, bytes, virtualTokens } = info;
  return {
    id,
    info: { version: id, path, method, parameters, bytes, virtualTokens },
    get tier() {
      return this.weights ? "device" : this.host ? "host" : "disk";
    },
    get error() {
      return this.fault ?? this.misfit;
    },
    weights: undefined,
    host: undefined,
    fault: undefined,
    misfit: undefined,
    names: new Set(),
    holders: 0,
    entered: 0,
    pins: 0,
    bringing: undefined,
    askedAt: 0,
    readyAt: 0,
  };
}

/** Of two descriptions of one version, the first thing that differs, wherever the folders are. */
export function difference(expected: VersionInfo, found: VersionInfo): string | undefined {
  for (const key of ["version", "method", "parameters", "bytes", "virtualTokens"] as const)
    if (expected[key] !== found[key]) return `${key} ${expected[key]} was expected, ${found[key]} is there`;
  return undefined;
}
