/** Text of one request as it grows: whole characters only, and nothing that a stop text may still turn out to begin with. */
import type { StreamDecoder } from "../text/index.ts";

export class TextStream {
  #decoder: StreamDecoder;
  #stop: readonly string[];
  #held = "";
  #isStopped = false;

  constructor(decoder: StreamDecoder, stop: readonly string[] = []) {
    this.#decoder = decoder;
    this.#stop = stop.filter((text) => text !== "");
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Text to give out now. */
  push(id: number): string {
    return this.#release(this.#decoder.push(id));
  }

  /** What was held back, at the end. */
  flush(): string {
    if (this.#isStopped) return "";
    const rest = this.#release(this.#decoder.flush());
    const held = this.#isStopped ? "" : this.#held;
    this.#held = "";
    return rest + held;
  }

  #release(fresh: string): string {
    if (this.#isStopped) return "";
    const text = this.#held + fresh;
    const ends = this.#stop.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    if (ends.length > 0) {
      this.#isStopped = true;
      this.#held = "";
      return text.slice(0, Math.min(...ends));
    }
    const keep = Math.max(0, ...this.#stop.map((stop) => overlap(text, stop)));
    this.#held = keep > 0 ? text.slice(-keep) : "";
    return keep > 0 ? text.slice(0, -keep) : text;
  }
}

/** Length of the longest end of `text` that `stop` begins with. */
function overlap(text: string, stop: string): number {
  for (let n = Math.min(text.length, stop.length - 1); n > 0; n--) if (text.endsWith(stop.slice(0, n))) return n;
  return 0;
}
