/** The shell text that turns fresh namespaces into a sandbox. */

export interface Sandbox {
  /** Where the tools of mounting are. */
  readonly searchPath: string;
  /** Seen inside with all below, read-only, at the same paths. */
  readonly folders: readonly string[];
  /** Copied. */
  readonly files: readonly string[];
  readonly links: readonly { readonly path: string; readonly target: string }[];
  /** Writable inside, for all can come of it. */
  readonly devices: readonly string[];
  /** Options of the file system at /tmp. */
  readonly temp: string;
}

/**
 * For process 1 of a PID namespace, with the capability to mount: runs its arguments in a root that holds only what the sandbox names, read-only, and an empty
 * /tmp. The command must give up all capabilities first (setpriv): without them nothing leads out of a chroot, and the kernel makes no user namespace in one.
 */
export function enterSandbox({ searchPath, folders, files, links, devices, temp }: Sandbox): string {
  const parents = [...files, ...devices, ...links.map(({ path }) => path)].map((path) =>
    path.slice(0, path.lastIndexOf("/") + 1),
  );
  return [
    "set -eu",
    `PATH=${quoted(searchPath)}`,
    // Exists everywhere, and no interpreter lives in it; below its own folder there are no older mounts.
    "mount -t tmpfs -o size=4m,nr_inodes=4096,mode=755 tmpfs /sys",
    "mkdir /sys/root",
    "cd /sys/root",
    `mkdir -p ./tmp ${[...new Set([...folders, ...parents])].map(inside).join(" ")}`,
    ...folders.map((path) => `mount --rbind ${quoted(path)} ${inside(path)}`),
    ...files.map((path) => `cat ${quoted(path)} > ${inside(path)}`),
    ...links.map(({ path, target }) => `ln -s ${quoted(target)} ${inside(path)}`),
    READ_ONLY,
    ...devices.flatMap((path) => [`: > ${inside(path)}`, `mount --bind ${quoted(path)} ${inside(path)}`]),
    `mount -t tmpfs -o ${quoted(`${temp},mode=700,nosuid,nodev`)} tmpfs ./tmp`,
    "mount -o remount,bind,ro /sys",
    // Not exec: the end of process 1 ends all others, and it cannot be killed from inside.
    'chroot . "$@"',
    "exit $?",
  ].join("\n");
}

// Mount by mount: the "ro" of a recursive bind reaches only the first. The flags stay: a user namespace may not take them away. %b: blanks stand as \040.
const READ_ONLY = String.raw`
while read -r _ _ _ _ point flags _; do
  case $point in *\\*) point=$(printf %b "$point") ;; esac
  case $point in /sys/root/*) mount -o "remount,bind,$flags,ro,nosuid" "$point" ;; esac
done < /proc/self/mountinfo`;

const inside = (path: string): string => quoted(`.${path}`);

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
