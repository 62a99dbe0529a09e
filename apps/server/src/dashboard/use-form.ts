/** Sending a form: busy, failed, done. */
import { useState } from "hono/jsx/dom";

export interface FormState {
  readonly isBusy: boolean;
  readonly error: unknown;
  readonly onSubmit: (event: Event) => void;
}

/** `send` gets what is in the form, and the form itself to reset. One is sent at a time. */
export function useForm(send: (fields: FormData, form: HTMLFormElement) => Promise<void>): FormState {
  const [state, setState] = useState<{ isBusy: boolean; error: unknown }>({ isBusy: false, error: undefined });
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    if (state.isBusy) return;
    const form = event.currentTarget as HTMLFormElement;
    setState({ isBusy: true, error: undefined });
    send(new FormData(form), form).then(
      () => setState({ isBusy: false, error: undefined }),
      (error: unknown) => setState({ isBusy: false, error }),
    );
  };
  return { ...state, onSubmit };
}
