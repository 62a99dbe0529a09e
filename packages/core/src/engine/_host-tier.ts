/** Adapter values in RAM under a budget. */
import type { BankedVersion } from "./adapter-version.ts";

export class HostTier {
  #budget: number;
  #used = 0;
  /** In RAM alone, and in RAM as well as on the device; the least recently used first. */
  #warm = new Set<BankedVersion>();
  #copies = new Set<BankedVersion>();

  constructor(budget: number) {
    this.#budget = budget;
  }

  /** Bytes that are there or that a read under way has been promised. */
  get used(): number {
    return this.#used;
  }

  /** Room at once, or false. Copies of what is on the device go first; what a request waits for goes only for one that was asked for. */
  makeRoom(bytes: number, isUrgent: boolean): boolean {
    for (const candidates of [this.#copies, this.#warm]) {
      for (const version of candidates) {
        if (this.#used + bytes <= this.#budget) return true;
        if (!isUrgent && candidates === this.#warm && version.holders > 0) return false;
        this.drop(version);
      }
    }
    return this.#used + bytes <= this.#budget;
  }

  /** Takes the room of a version whose values are there or will be: they do not give way until keep(). */
  claim(version: BankedVersion): void {
    if (!version.host) this.#used += version.info.bytes;
    this.#warm.delete(version);
  }

  /** Ends a claim: the values, if they came, may give way to others. */
  keep(version: BankedVersion): void {
    if (!version.host) this.#used -= version.info.bytes;
    else (version.weights ? this.#copies : this.#warm).add(version);
  }

  /** A version that left the device: what was a copy is the values now. */
  keepAlone(version: BankedVersion): void {
    if (this.#copies.delete(version)) this.#warm.add(version);
  }

  drop(version: BankedVersion): void {
    this.#copies.delete(version);
    this.#warm.delete(version);
    if (version.host) this.#used -= version.info.bytes;
    version.host = undefined;
  }
}
