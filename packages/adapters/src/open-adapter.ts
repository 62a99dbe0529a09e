/** An adapter on the device of its base, with what a list says of it. */
import type { OpenedAdapter } from "@graft/core/engine";
import type { BaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { createHash } from "node:crypto";
import { adapterVersion, loadAdapter, type LoadedAdapter } from "./adapter.ts";
import type { Base } from "./method.ts";

/** Uploads a PEFT folder, or an adapter that is in memory: its version is then a hash of its config and values. Throws what loading throws. */
export function openAdapter(model: BaseModel, base: Base, source: string | LoadedAdapter): OpenedAdapter {
  const isFolder = typeof source === "string";
  const loaded = isFolder ? loadAdapter(source, base) : source;
  const path = isFolder ? source : "";
  const version = isFolder ? adapterVersion(source) : versionOf(loaded);
  const weights = new AdapterWeights(model.device, loaded.bound, loaded.values, path || "adapter");
  const bytes = loaded.bound.parameters.reduce((sum, p) => sum + 4 * p.shape.reduce((a, b) => a * b, 1), 0);
  return {
    info: {
      version,
      path,
      method: loaded.bound.method,
      parameters: bytes / 4,
      bytes,
      virtualTokens: loaded.bound.virtualTokens ?? 0,
    },
    weights,
  };
}

function versionOf({ config, values }: LoadedAdapter): string {
  const hash = createHash("sha256").update(JSON.stringify(config));
  for (const [key, tensor] of values)
    hash.update(key).update(new Uint8Array(tensor.buffer, tensor.byteOffset, tensor.byteLength));
  return hash.digest("hex").slice(0, 16);
}
