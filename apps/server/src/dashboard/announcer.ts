/** What was done, said once: shown at the foot of the page and read out. */
import { createStore } from "./value-store.ts";

/** `n` tells two equal texts apart. */
export const announcement = createStore({ n: 0, text: "" });

export function announce(text: string): void {
  clearTimeout(timer);
  announcement.set({ n: announcement.get().n + 1, text });
  if (text !== "") timer = setTimeout(() => announce(""), SHOWN_MS);
}

/** The page itself shows what came of it, so nothing is lost when it goes. */
const SHOWN_MS = 10_000;
let timer: ReturnType<typeof setTimeout> | undefined;
