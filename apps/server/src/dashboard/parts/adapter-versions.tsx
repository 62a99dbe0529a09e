/** The versions of one adapter: publish, roll back, delete. */
import { useState } from "hono/jsx/dom";
import { announce } from "../announcer.ts";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import type { Adapter, AdapterVersion } from "../api-types.ts";
import { formatAge, formatBytes, formatCount, formatHash, formatTime } from "../format.ts";
import { hrefOf } from "../place.ts";
import { useResource } from "../use-resource.ts";
import type { Question } from "./dialog.tsx";
import { Badge, LoadState, Notice } from "./notice.tsx";

interface Props {
  readonly adapter: Adapter;
  onChange(): void;
  ask(question: Question): void;
}

export function AdapterVersions({ adapter, onChange, ask }: Props) {
  const { name, parameters, virtual_tokens: virtualTokens, tier, bytes } = adapter;
  const versions = useResource((signal) => api.versions(name, signal), undefined, adapter.current_version);
  const [error, setError] = useState<unknown>(undefined);
  const changed = (text: string): void => {
    announce(text);
    setError(undefined);
    versions.reload();
    onChange();
  };
  const publish = async (version: number): Promise<void> => {
    try {
      await api.publish(name, version);
      changed(`${name} is version ${version} now.`);
    } catch (failure) {
      setError(failure);
    }
  };
  const list = [...(versions.data?.data ?? [])].sort((a, b) => b.version - a.version);
  return (
    <div class="versions">
      <p class="quiet">
        {formatCount(parameters)} parameters, {formatBytes(bytes)}
        {virtualTokens > 0 ? `, ${virtualTokens} virtual tokens` : ""}, on {tier}.
      </p>
      <div class="actions start">
        <a class="button" href={hrefOf("playground", undefined, { b: name })}>
          Try it
        </a>
        <button
          type="button"
          disabled={list.filter((one) => one.published_at !== null).length < 2}
          onClick={() =>
            ask({
              title: `Roll ${name} back?`,
              text: "The version published before becomes the one that is served. Requests under way finish on theirs.",
              action: "Roll back",
              run: async () => changed(`${name} is version ${(await api.rollBack(name)).current_version} again.`),
            })
          }
        >
          Roll back
        </button>
        <button
          type="button"
          class="danger"
          onClick={() =>
            ask({
              title: `Delete ${name}?`,
              text: `The name and its ${list.length} version(s) are deleted, files included. Requests under way finish.`,
              action: "Delete adapter",
              run: async () => {
                await api.deleteAdapter(name);
                announce(`${name} is deleted.`);
                onChange();
              },
            })
          }
        >
          Delete adapter
        </button>
      </div>
      {error === undefined ? null : <Notice kind="error">{explain(error)}</Notice>}
      <LoadState resource={versions} what="versions" />
      <ul class="plain">
        {list.map((version) => (
          <VersionItem
            key={version.version}
            version={version}
            onPublish={() => void publish(version.version)}
            onDelete={() =>
              ask({
                title: `Delete version ${version.version} of ${name}?`,
                text: "Its files are deleted.",
                action: "Delete version",
                run: async () => {
                  await api.deleteVersion(name, version.version);
                  changed(`Version ${version.version} of ${name} is deleted.`);
                },
              })
            }
          />
        ))}
      </ul>
    </div>
  );
}

interface ItemProps {
  readonly version: AdapterVersion;
  onPublish(): void;
  onDelete(): void;
}

function VersionItem({ version, onPublish, onDelete }: ItemProps) {
  const { version: n, is_current: isCurrent, hash, source, created_at: createdAt, bytes } = version;
  return (
    <li>
      <div>
        <b>Version {n}</b> {isCurrent ? <Badge text="served" /> : null}
        <div class="quiet">
          <Source source={source} />, <span title={formatTime(createdAt)}>{formatAge(createdAt, Date.now())}</span>,{" "}
          {formatBytes(bytes)}, <code title={hash}>{formatHash(hash)}</code>
        </div>
      </div>
      {isCurrent ? null : (
        <div class="actions">
          <button type="button" class="small" aria-label={`Publish version ${n}`} onClick={onPublish}>
            Publish
          </button>
          <button type="button" class="small danger" aria-label={`Delete version ${n}`} onClick={onDelete}>
            Delete
          </button>
        </div>
      )}
    </li>
  );
}

function Source({ source }: { source: AdapterVersion["source"] }) {
  const { type, job, path } = source;
  if (type === "job" && typeof job === "string") {
    return (
      <>
        from <a href={hrefOf("jobs", job)}>{job}</a>
      </>
    );
  }
  if (type === "path" && typeof path === "string") return <>from {path}</>;
  return <>{type}</>;
}
