/** Light, dark, or as the system has it. */
import { createStore } from "./value-store.ts";

const themes = ["system", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

const STORED_AS = "graft-theme";

export const theme = createStore<Theme>(themes.find((one) => one === localStorage.getItem(STORED_AS)) ?? "system");

/** What follows the chosen one. */
export function nextTheme(now: Theme): Theme {
  return themes[(themes.indexOf(now) + 1) % themes.length]!;
}

/** Sets it on the page, now and whenever it changes; call once. */
export function applyTheme(): void {
  const apply = (): void => {
    const chosen = theme.get();
    localStorage.setItem(STORED_AS, chosen);
    if (chosen === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = chosen;
  };
  theme.subscribe(apply);
  apply();
}

/** Calls back when colours have changed, whatever the reason; returns how to stop. */
export function onColoursChange(listener: () => void): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", listener);
  const stop = theme.subscribe(listener);
  return () => {
    system.removeEventListener("change", listener);
    stop();
  };
}
