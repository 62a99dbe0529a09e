/** Modal dialogs: the browser keeps the focus inside, closes with Escape and gives the focus back. */
import { useEffect, useId, useRef, useState } from "hono/jsx/dom";
import type { Child } from "hono/jsx/dom";
import { explain } from "../api-failure.ts";
import { Notice } from "./notice.tsx";

/** Open as long as it is rendered. `onClose`: the browser has closed it, after Escape. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children?: Child }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const { current } = dialog;
    current?.showModal();
    // Closed before it leaves the page, or the focus is not given back.
    return () => current?.close();
  }, []);
  const onClosed = (event: Event): void => {
    // Otherwise it was closed because it is rendered no more.
    if ((event.currentTarget as HTMLElement).isConnected) onClose();
  };
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClosed}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

export interface Question {
  readonly title: string;
  readonly text: string;
  /** On the button that does it. */
  readonly action: string;
  run(): Promise<void>;
}

/** Asks before something is done that cannot be undone. What goes wrong is shown in place; it closes when it is done. */
export function Confirm({ question, onClose }: { question: Question; onClose: () => void }) {
  const [isBusy, setIsBusy] = useState(false);
  const [error, setError] = useState<unknown>(undefined);
  const run = async (): Promise<void> => {
    setIsBusy(true);
    try {
      await question.run();
      onClose();
    } catch (failure) {
      setError(failure);
      setIsBusy(false);
    }
  };
  return (
    <Dialog title={question.title} onClose={onClose}>
      <p>{question.text}</p>
      {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
      <div class="actions">
        <button type="button" autofocus onClick={onClose}>
          Keep as it is
        </button>
        <button type="button" class="danger" disabled={isBusy} onClick={() => void run()}>
          {question.action}
        </button>
      </div>
    </Dialog>
  );
}
