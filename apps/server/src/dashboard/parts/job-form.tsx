/** A new training job. What is left empty the server decides. */
import { useState } from "hono/jsx/dom";
import { announce } from "../announcer.ts";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import { fileOf, textOf } from "../form-fields.ts";
import { formatCount } from "../format.ts";
import { jobRequestOf } from "../job-request.ts";
import { methods } from "../methods.ts";
import { hrefOf } from "../place.ts";
import { feed } from "../status-feed.ts";
import { useForm } from "../use-form.ts";
import { useResource } from "../use-resource.ts";
import { LoadState, Notice } from "./notice.tsx";

export function JobForm() {
  const files = useResource(api.files);
  const [method, setMethod] = useState("lora");
  const { isBusy, error, onSubmit } = useForm(async (fields) => {
    const model = feed.get().status?.model;
    if (model === undefined) throw new Error("The server's model is not known yet: wait until its status is shown.");
    const training = await fileId(fields, "training");
    if (training === undefined) throw new Error("Choose a training file, or one to upload.");
    const job = await api.createJob(
      jobRequestOf(fields, { model, training, validation: await fileId(fields, "validation") }),
    );
    announce(`Job ${job.id} is created.`);
    location.hash = hrefOf("jobs", job.id);
  });
  const known = files.data?.data ?? [];
  const sizes = methods.find(({ name }) => name === method)?.sizes ?? {};
  return (
    <form class="card stack" onSubmit={onSubmit} aria-labelledby="job-title">
      <h2 id="job-title">New job</h2>
      <LoadState resource={files} what="files" />
      <div class="columns">
        {(["training", "validation"] as const).map((role) => (
          <fieldset key={role}>
            <legend>{role === "training" ? "Training file" : "Validation file (optional)"}</legend>
            <label>
              Uploaded before
              <select name={`${role}.id`}>
                <option value="">{known.length === 0 ? "none yet" : "none of these"}</option>
                {known.map(({ id, filename, graft }) => (
                  <option key={id} value={id}>
                    {filename}
                    {graft ? ` (${formatCount(graft.rows)} rows, ${graft.format})` : ""}
                  </option>
                ))}
              </select>
            </label>
            <label>
              Or a new one: chat or completion JSONL, or JSON
              <input type="file" name={`${role}.file`} accept=".jsonl,.json" />
            </label>
          </fieldset>
        ))}
      </div>
      <div class="fields">
        <label>
          Method
          <select
            name="method"
            value={method}
            onChange={(event: Event) => setMethod((event.target as HTMLSelectElement).value)}
          >
            {methods.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        {Object.entries(sizes).map(([name, size]) => (
          <NumberField key={`${method}.${name}`} name={`size.${name}`} label={name} placeholder={String(size)} />
        ))}
        <NumberField name="n_epochs" label="Epochs" />
        <NumberField name="learning_rate" label="Learning rate" />
        <NumberField name="batch_size" label="Batch size" />
        <label>
          Suffix of the name
          <input
            name="suffix"
            maxlength={64}
            pattern="[A-Za-z0-9_.\-]*"
            title="letters, digits, _ . and -"
            autocomplete="off"
            spellcheck={false}
            placeholder="none"
          />
        </label>
      </div>
      <details>
        <summary>Further settings</summary>
        <div class="fields">
          <NumberField name="micro_batch_size" label="Micro-batch size" />
          <NumberField name="max_steps" label="Steps at most" />
          <NumberField name="cutoff_len" label="Longest row, tokens" />
          <NumberField name="warmup_steps" label="Warm-up steps" />
          <NumberField name="weight_decay" label="Weight decay" />
          <NumberField name="eval_steps" label="Validate every … steps" />
          <NumberField name="save_steps" label="Save every … steps" />
          <NumberField name="seed" label="Seed" />
          <label>
            Schedule
            <input name="lr_scheduler" autocomplete="off" spellcheck={false} placeholder="auto" />
          </label>
        </div>
        <label class="check">
          <input type="checkbox" name="train_on_inputs" /> Learn the prompts too
        </label>
        <label>
          Further adapter settings, as PEFT spells them, in JSON
          <textarea
            name="settings"
            rows={3}
            spellcheck={false}
            placeholder='{"target_modules": ["q_proj", "v_proj"]}'
          />
        </label>
      </details>
      {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
      <div class="actions">
        <button type="submit" class="primary" disabled={isBusy}>
          {isBusy ? "Creating …" : "Create job"}
        </button>
      </div>
    </form>
  );
}

/** A chosen file's id; a new one is uploaded first. */
async function fileId(fields: FormData, role: "training" | "validation"): Promise<string | undefined> {
  const file = fileOf(fields, `${role}.file`);
  if (file) return (await api.uploadFile(file)).id;
  const id = textOf(fields, `${role}.id`);
  return id === "" ? undefined : id;
}

function NumberField({ name, label, placeholder = "auto" }: { name: string; label: string; placeholder?: string }) {
  return (
    <label>
      {label}
      <input name={name} type="number" min={0} step="any" inputmode="decimal" placeholder={placeholder} />
    </label>
  );
}
