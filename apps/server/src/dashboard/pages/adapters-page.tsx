/** Adapters and their versions: what is served under which name. */
import { useState } from "hono/jsx/dom";
import { announce } from "../announcer.ts";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import type { Adapter } from "../api-types.ts";
import { formatBytes, formatCount } from "../format.ts";
import { AdapterVersions } from "../parts/adapter-versions.tsx";
import { AverageForm } from "../parts/average-form.tsx";
import { Confirm, type Question } from "../parts/dialog.tsx";
import { Badge, Empty, LoadState, Notice } from "../parts/notice.tsx";
import { UploadForm } from "../parts/upload-form.tsx";
import { hrefOf } from "../place.ts";
import { useResource } from "../use-resource.ts";

const EVERY_MS = 5000;
const SHOWN = 100;

export function AdaptersPage() {
  const adapters = useResource(api.adapters, EVERY_MS);
  const [search, setSearch] = useState("");
  const [question, setQuestion] = useState<Question | undefined>(undefined);
  const all = adapters.data?.data ?? [];
  const found = all.filter(({ name }) => name.toLowerCase().includes(search.toLowerCase()));
  return (
    <>
      <LoadState resource={adapters} what="adapters" />
      {adapters.data && all.length === 0 ? (
        <Empty command="graft adapters push NAME FOLDER">
          No adapters yet. Upload one below, train one under <a href={hrefOf("jobs")}>Jobs</a>, or type:
        </Empty>
      ) : null}
      {all.length > 0 ? (
        <section class="card" aria-label="Adapters">
          <label class="search">
            Find
            <input
              type="search"
              placeholder="part of a name"
              value={search}
              onInput={(event: Event) => setSearch((event.target as HTMLInputElement).value)}
            />
          </label>
          <table class="adapters">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Method</th>
                <th scope="col" class="number wide">
                  Version
                </th>
                <th scope="col" class="number wide">
                  Size
                </th>
                <th scope="col" class="wide">
                  Where
                </th>
                <th scope="col">Pinned</th>
              </tr>
            </thead>
            {found.slice(0, SHOWN).map((adapter) => (
              <AdapterRows key={adapter.name} adapter={adapter} onChange={adapters.reload} ask={setQuestion} />
            ))}
          </table>
          {found.length > SHOWN ? (
            <p class="quiet">{formatCount(found.length - SHOWN)} more: type part of a name above.</p>
          ) : null}
          {found.length === 0 ? <p class="quiet">No name has “{search}” in it.</p> : null}
        </section>
      ) : null}
      <div class="columns">
        <UploadForm onDone={adapters.reload} />
        <AverageForm adapters={all} onDone={adapters.reload} />
      </div>
      {question ? <Confirm question={question} onClose={() => setQuestion(undefined)} /> : null}
    </>
  );
}

interface RowsProps {
  readonly adapter: Adapter;
  onChange(): void;
  ask(question: Question): void;
}

/** A row, and below it the versions once it is opened. */
function AdapterRows({ adapter, onChange, ask }: RowsProps) {
  const { name, method, current_version: version, bytes, tier, pinned, versions } = adapter;
  const [isOpen, setIsOpen] = useState(false);
  const [error, setError] = useState<unknown>(undefined);
  const pin = async (): Promise<void> => {
    try {
      await api.pin(name, !pinned);
      announce(pinned ? `${name} may leave the device.` : `${name} stays on the device.`);
      setError(undefined);
      onChange();
    } catch (failure) {
      setError(failure);
    }
  };
  return (
    <tbody>
      <tr>
        <th scope="row">
          <button
            type="button"
            class="disclose"
            aria-expanded={isOpen ? "true" : "false"}
            onClick={() => setIsOpen(!isOpen)}
          >
            {name}
          </button>
        </th>
        <td>{method}</td>
        <td class="number wide">
          {version ?? "–"} of {versions}
        </td>
        <td class="number wide">{formatBytes(bytes)}</td>
        <td class="wide">
          <Badge text={tier} />
        </td>
        <td>
          <button
            type="button"
            class="small"
            aria-pressed={pinned ? "true" : "false"}
            aria-label={`Pin ${name}`}
            onClick={() => void pin()}
          >
            Pin
          </button>
        </td>
      </tr>
      {isOpen || error !== undefined ? (
        <tr>
          <td colspan={6}>
            {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
            {isOpen ? <AdapterVersions key={versions} adapter={adapter} onChange={onChange} ask={ask} /> : null}
          </td>
        </tr>
      ) : null}
    </tbody>
  );
}
