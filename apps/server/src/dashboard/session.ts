/** The API key, kept for this tab alone, and whether the server asks for one. */
import { createStore } from "./value-store.ts";

const STORED_AS = "graft-api-key";

export const apiKey = createStore<string | undefined>(sessionStorage.getItem(STORED_AS) ?? undefined);

/** True from an answer 401 until a key is entered or the dialog is closed. */
export const isKeyWanted = createStore(false);

/** An empty key forgets the last one. */
export function enterKey(key: string): void {
  if (key === "") sessionStorage.removeItem(STORED_AS);
  else sessionStorage.setItem(STORED_AS, key);
  apiKey.set(key === "" ? undefined : key);
  isKeyWanted.set(false);
  hasDeclined = false;
}

let hasDeclined = false;

/** Asked once: who closes the dialog finds it again under "API key". */
export function wantKey(): void {
  if (!hasDeclined) isKeyWanted.set(true);
}

/** The dialog was closed without a key. */
export function declineKey(): void {
  hasDeclined = true;
  isKeyWanted.set(false);
}
