/** Asks for the API key. */
import { apiKey, declineKey, enterKey } from "../session.ts";
import { Dialog } from "./dialog.tsx";

export function KeyDialog() {
  const submit = (event: Event): void => {
    event.preventDefault();
    const key = new FormData(event.currentTarget as HTMLFormElement).get("key");
    enterKey(typeof key === "string" ? key.trim() : "");
  };
  return (
    <Dialog title="API key" onClose={declineKey}>
      <form class="stack" onSubmit={submit}>
        <p>
          The key of <code>graft serve --api-key</code>, or one made with POST /v1/keys. It stays in this tab and is
          forgotten when the tab is closed.
        </p>
        <label>
          Key
          <input name="key" type="password" autocomplete="off" spellcheck={false} autofocus />
        </label>
        {apiKey.get() === undefined ? null : <p class="quiet">A key is set. Leave the field empty to forget it.</p>}
        <div class="actions">
          <button type="button" onClick={declineKey}>
            Not now
          </button>
          <button type="submit" class="primary">
            Use key
          </button>
        </div>
      </form>
    </Dialog>
  );
}
