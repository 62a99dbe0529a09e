/** Work on the device that is not decoding, such as a micro-step of training: queued, and run between passes when the engine grants it. */

interface Turn {
  readonly run: () => Promise<void>;
  readonly reject: (error: unknown) => void;
}

/** First come, first served: tasks that wait for each turn before they ask for the next go round robin. */
export class Turns {
  #waiting: Turn[] = [];
  #onAsked: () => void;
  #isClosed = false;
  #granted = 0;

  /** `onAsked` is called when work begins to wait. */
  constructor(onAsked: () => void) {
    this.#onAsked = onAsked;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Turns that have been run. */
  get granted(): number {
    return this.#granted;
  }

  /** Resolves or rejects as the work does when its turn has come; rejects with an AbortError if the engine closes before. */
  run<T>(work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#isClosed) return reject(closing());
      const run = async (): Promise<void> => {
        try {
          resolve(await work());
        } catch (error) {
          reject(error);
        }
      };
      this.#waiting.push({ run, reject });
      this.#onAsked();
    });
  }

  /** Runs what has waited longest; never rejects. */
  async grant(): Promise<void> {
    const turn = this.#waiting.shift();
    if (!turn) return;
    await turn.run();
    this.#granted++;
  }

  close(): void {
    this.#isClosed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(closing());
  }
}

const closing = () => new DOMException("the engine is closing", "AbortError");
