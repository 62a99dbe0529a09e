/** Folders of deleted versions, which go when nobody needs them any more. */
import type { Blobs, IsUsed, VersionRow } from "../db/index.ts";
import { EngineUnavailable } from "../errors.ts";
import type { EngineProcess } from "../worker/engine-process.ts";

export interface Removals {
  /** Their rows are gone. */
  add(versions: readonly Pick<VersionRow, "hash" | "path">[]): void;
  /** Removes what can go now; never rejects. What cannot is tried again after the next change, and swept at the next start. */
  tryAgain(): Promise<void>;
}

/** `isUsed`: whether rows need a folder. A request in flight may need it too, where its version is not in memory: that the engine knows. */
export function createRemovals({
  engine,
  blobs,
  isUsed,
  log,
}: {
  readonly engine: Pick<EngineProcess, "keptVersions">;
  readonly blobs: Pick<Blobs, "removeFolder">;
  readonly isUsed: IsUsed;
  readonly log: (line: string) => void;
}): Removals {
  const waiting = new Set<string>();

  async function remove(hash: string): Promise<void> {
    let isHeld = false;
    await blobs.removeFolder(hash, async () => {
      if (await isUsed(hash)) return true;
      // Asked last: what the engine keeps and has no row may be about to get one.
      isHeld = (await engine.keptVersions()).includes(hash);
      return isHeld;
    });
    if (!isHeld) waiting.delete(hash);
  }

  return {
    add(versions) {
      for (const { hash, path } of versions) if (path === null) waiting.add(hash);
    },
    async tryAgain() {
      for (const hash of waiting) {
        try {
          await remove(hash);
        } catch (error) {
          if (!(error instanceof EngineUnavailable))
            log(`the files of adapter version ${hash} could not be removed: ${String(error)}`);
          return;
        }
      }
    },
  };
}
