/** A new adapter, or a new version of one, from files. */
import { announce } from "../announcer.ts";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import { textOf } from "../form-fields.ts";
import { useForm } from "../use-form.ts";
import { Notice } from "./notice.tsx";

export function UploadForm({ onDone }: { onDone: () => void }) {
  const { isBusy, error, onSubmit } = useForm(async (fields, form) => {
    const name = textOf(fields, "name");
    const upload = new FormData();
    upload.set("name", name);
    upload.set("publish", fields.get("publish") === null ? "false" : "true");
    for (const field of ["config", "weights"]) upload.append("files", fields.get(field)!);
    const adapter = await api.uploadAdapter(upload);
    announce(`${adapter.name} is uploaded.`);
    form.reset();
    onDone();
  });
  return (
    <form class="card stack" onSubmit={onSubmit} aria-labelledby="upload-title">
      <h2 id="upload-title">Upload</h2>
      <p class="quiet">PEFT's two files. Under a name that exists they become its next version.</p>
      <label>
        Name
        <input name="name" required maxlength={64} autocomplete="off" spellcheck={false} />
      </label>
      <label>
        adapter_config.json
        <input name="config" type="file" accept=".json,application/json" required />
      </label>
      <label>
        adapter_model.safetensors or .bin
        <input name="weights" type="file" accept=".safetensors,.bin" required />
      </label>
      <label class="check">
        <input name="publish" type="checkbox" checked /> Serve it at once
      </label>
      {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
      <div class="actions">
        <button type="submit" class="primary" disabled={isBusy}>
          {isBusy ? "Uploading …" : "Upload"}
        </button>
      </div>
    </form>
  );
}
