/** Texts that say how things are: failures, what is missing, states. */
import type { Child } from "hono/jsx/dom";
import { explain } from "../api-failure.ts";
import type { Resource } from "../use-resource.ts";

export function Notice({ kind, children }: { kind: "error" | "info"; children?: Child }) {
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : undefined}>
      {children}
    </div>
  );
}

/** A failure of loading: over the data that is still shown, or in its place. Nothing once data has come without one. */
export function LoadState({ resource, what }: { resource: Resource<unknown>; what: string }) {
  if (resource.error !== undefined) {
    return (
      <Notice kind="error">
        <span>{explain(resource.error)}</span>{" "}
        <button type="button" class="small" onClick={resource.reload}>
          Try again
        </button>
      </Notice>
    );
  }
  return resource.data === undefined ? <p class="quiet">Loading {what} …</p> : null;
}

/** Nothing is here yet, and what to type so that there is. */
export function Empty({ children, command }: { children?: Child; command: string }) {
  return (
    <div class="empty">
      <p>{children}</p>
      <pre>
        <code>{command}</code>
      </pre>
    </div>
  );
}

const TONES: Readonly<Record<string, "good" | "bad" | "busy">> = {
  running: "busy",
  validating_files: "busy",
  succeeded: "good",
  finished: "good",
  device: "good",
  served: "good",
  failed: "bad",
};

/** A state as a word with a colour. */
export function Badge({ text }: { text: string }) {
  return <span class={`badge ${TONES[text] ?? ""}`}>{text.replaceAll("_", " ")}</span>;
}
