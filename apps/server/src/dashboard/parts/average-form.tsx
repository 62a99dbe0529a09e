/** An adapter that is the average of others. */
import { announce } from "../announcer.ts";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import type { Adapter } from "../api-types.ts";
import { textOf } from "../form-fields.ts";
import { useForm } from "../use-form.ts";
import { Notice } from "./notice.tsx";

const LISTED = 200;

export function AverageForm({ adapters, onDone }: { adapters: readonly Adapter[]; onDone: () => void }) {
  const { isBusy, error, onSubmit } = useForm(async (fields, form) => {
    const parts = fields.getAll("part").filter((part) => typeof part === "string");
    if (parts.length < 2) throw new Error("Choose at least two adapters.");
    const adapter = await api.averageAdapters(textOf(fields, "name"), parts);
    announce(`${adapter.name} is the average of ${parts.join(", ")}.`);
    form.reset();
    onDone();
  });
  return (
    <form class="card stack" onSubmit={onSubmit} aria-labelledby="average-title">
      <h2 id="average-title">Average</h2>
      <p class="quiet">A new adapter whose weights are the mean of others of the same method and size.</p>
      {adapters.length < 2 ? (
        <p class="quiet">There must be two adapters first.</p>
      ) : (
        <>
          <label>
            Name
            <input name="name" required maxlength={64} autocomplete="off" spellcheck={false} />
          </label>
          <fieldset class="list">
            <legend>Adapters</legend>
            {adapters.slice(0, LISTED).map(({ name, method }) => (
              <label key={name} class="check">
                <input type="checkbox" name="part" value={name} /> {name} <span class="quiet">{method}</span>
              </label>
            ))}
          </fieldset>
          {adapters.length > LISTED ? (
            <p class="quiet">The first {LISTED} are listed. POST /v1/adapters averages any.</p>
          ) : null}
          {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
          <div class="actions">
            <button type="submit" class="primary" disabled={isBusy}>
              Make the average
            </button>
          </div>
        </>
      )}
    </form>
  );
}
