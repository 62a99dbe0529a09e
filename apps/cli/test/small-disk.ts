/** A disk that is really small, or really read-only: a file system in memory that only the command sees, in a mount namespace of its own. Needs Linux, no root. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Outcome, start } from "./process.ts";

const unshare = ["unshare", "--user", "--map-root-user", "--mount"];

/** False where namespaces are forbidden or there are none, as in many containers: tests of full disks are skipped then. */
export const canMount = (() => {
  if (Bun.which("unshare") === null) return false;
  const folder = mkdtempSync(join(tmpdir(), "can-mount-"));
  const { success } = Bun.spawnSync([...unshare, "mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder]);
  rmSync(folder, { recursive: true });
  return success;
})();

// $1 the disk's place, $2 where its content comes from and goes to, $3 its size, $4 ro or rw; then the command.
const script = `
disk=$1 kept=$2 size=$3 mode=$4
shift 4
mount -t tmpfs -o "size=$size" tmpfs "$disk" && cp -R "$kept/." "$disk" && mount -o "remount,$mode,size=$size" "$disk" || exit 99
"$@"
code=$?
rm -rf "$kept" && cp -R "$disk" "$kept" || exit 99
exit $code`;

/** Runs a command with a small disk. What is in `kept` is on the disk when it starts; what the disk has when it ends is in `kept` then. */
export async function onSmallDisk(
  { kept, size, mode = "rw" }: { readonly kept: string; readonly size: string; readonly mode?: "rw" | "ro" },
  line: (disk: string) => readonly string[],
): Promise<Outcome> {
  mkdirSync(kept, { recursive: true });
  const disk = mkdtempSync(join(tmpdir(), "disk-"));
  const outcome = await start(line(disk), [...unshare, "sh", "-c", script, "sh", disk, kept, size, mode]).outcome();
  rmSync(disk, { recursive: true });
  if (outcome.code === 99) throw new Error(`the small disk could not be made\n${outcome.err}`);
  return outcome;
}
