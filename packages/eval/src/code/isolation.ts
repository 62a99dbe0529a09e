/** Ways of starting a process so that it can do no harm. Each is only trusted after the probe has passed in it. */
import { existsSync, lstatSync, readlinkSync, realpathSync } from "node:fs";
import { delimiter } from "node:path";
import { enterSandbox, type Sandbox } from "./enter-sandbox.ts";
import { findExecutable } from "./executables.ts";
import type { Limits } from "./limits.ts";
import type { Python } from "./python.ts";

/** Names another way of isolation than ours: for those who are already inside a container that may be thrown away. */
export const NO_ISOLATION = "none-this-container-is-disposable";

export interface Isolation {
  readonly name: string;
  /** Whether network and file system are closed, and nothing outlives the first process. There is a folder of its own at /tmp then. */
  readonly isClosed: boolean;
  /** Words of the command that runs the interpreter with these arguments. `slot` differs between programs that run at the same time. */
  command(args: readonly string[], slot: number): readonly string[];
}

interface Unavailable {
  readonly name: string;
  readonly reason: string;
}

interface IsolationOptions {
  readonly python: Python;
  readonly searchPath: string;
  readonly limits: Limits;
}

/** What may work on this machine, strongest first. */
export function isolations(options: IsolationOptions): readonly (Isolation | Unavailable)[] {
  const isRoot = process.getuid?.() === 0;
  return [
    ...(isRoot ? [needing("unshare as root", UNSHARE_TOOLS, options, unshareAsRoot)] : []),
    needing("bubblewrap", ["bwrap"], options, bubblewrap),
    needing("unshare", UNSHARE_TOOLS, options, unshareAsUser),
  ];
}

/** Limits and time only: the network is open and all that the user may write can be written. */
export function noIsolation({ python }: Pick<IsolationOptions, "python">): Isolation {
  return { name: NO_ISOLATION, isClosed: false, command: (args) => [python.executable, ...args] };
}

/** Of util-linux and coreutils. `mount` and `chroot` are called by the shell. */
const UNSHARE_TOOLS = ["sh", "unshare", "setpriv", "mount", "chroot"] as const;
/** Where the tools of administrators are, which an ordinary user's PATH may leave out. */
const ADMIN_PATH = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

type Tools<N extends string> = Readonly<Record<N, string>>;
type UnshareTools = Tools<(typeof UNSHARE_TOOLS)[number]>;

function needing<N extends string>(
  name: string,
  tools: readonly N[],
  options: IsolationOptions,
  make: (tools: Tools<N>, options: IsolationOptions) => Isolation["command"],
): Isolation | Unavailable {
  const searchPath = [options.searchPath, ...ADMIN_PATH].join(delimiter);
  const found = tools.map((tool) => [tool, findExecutable(tool, searchPath)] as const);
  const missing = found.filter(([, path]) => path === undefined).map(([tool]) => tool);
  if (missing.length > 0) return { name, reason: `not installed: ${missing.join(", ")}` };
  return {
    name,
    isClosed: true,
    command: make(Object.fromEntries(found) as Record<N, string>, { ...options, searchPath }),
  };
}

function bubblewrap({ bwrap }: Tools<"bwrap">, { python, limits }: IsolationOptions): Isolation["command"] {
  const { folders, files, links, devices } = visible(python);
  return (args) => [
    bwrap,
    ...["user", "ipc", "pid", "net", "uts"].map((namespace) => `--unshare-${namespace}`),
    "--die-with-parent",
    "--cap-drop",
    "ALL",
    ...[...folders, ...files].flatMap((path) => ["--ro-bind", path, path]),
    ...links.flatMap(({ path, target }) => ["--symlink", target, path]),
    ...devices.flatMap((path) => ["--dev-bind", path, path]),
    "--size",
    String(limits.diskBytes),
    "--tmpfs",
    "/tmp",
    "--remount-ro",
    "/",
    "--",
    python.executable,
    ...args,
  ];
}

/** A user number above those that systemd gives to containers and services, another for each program that runs: limits on processes count by user. */
const FIRST_UID = 0x7000_0000;
const MAX_PIDS = 2 ** 22;
const MAX_SLOTS = 64;

// Root needs no user namespace, and must not be root inside: the kernel counts no processes of root's.
function unshareAsRoot(tools: UnshareTools, options: IsolationOptions): Isolation["command"] {
  return (args, slot) => {
    const uid = FIRST_UID + (process.pid % MAX_PIDS) * MAX_SLOTS + slot;
    const drop = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
    return unshareCommand(tools, options, { uid, user: [], drop }, args);
  };
}

function unshareAsUser(tools: UnshareTools, options: IsolationOptions): Isolation["command"] {
  return (args) => unshareCommand(tools, options, { uid: 0, user: ["--user", "--map-root-user"], drop: [] }, args);
}

interface Identity {
  /** Who the program is inside. */
  readonly uid: number;
  /** How `unshare` gets the capability to mount. */
  readonly user: readonly string[];
  /** How `setpriv` becomes somebody else. */
  readonly drop: readonly string[];
}

function unshareCommand(
  { sh, unshare, setpriv }: UnshareTools,
  { python, searchPath, limits }: IsolationOptions,
  { uid, user, drop }: Identity,
  args: readonly string[],
): readonly string[] {
  const temp = `size=${limits.diskBytes},nr_inodes=4096,uid=${uid},gid=${uid}`;
  const spaces = [...user, "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts"];
  const enter = [sh, "-c", enterSandbox({ ...visible(python), searchPath, temp }), "sh"];
  const powerless = [...drop, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"];
  // The first setpriv: the sandbox ends with us, whatever ends us.
  const sandbox = [setpriv, "--pdeathsig", "KILL", unshare, ...spaces, ...enter];
  return [...sandbox, setpriv, ...powerless, python.executable, ...args];
}

const SYSTEM_FOLDERS = ["/usr", "/bin", "/lib", "/lib64", "/nix/store"];

/** All that is seen inside: the system's programs and libraries, and the interpreter. No home, no /etc, no /proc, no sockets. */
function visible({ folders }: Python): Omit<Sandbox, "searchPath" | "temp"> {
  const system = SYSTEM_FOLDERS.filter(existsSync);
  const links = system.filter((path) => lstatSync(path).isSymbolicLink());
  const real = system.filter((path) => !links.includes(path));
  const own = folders.filter((folder) => !system.some((path) => contains(realpathSync(path), folder)));
  return {
    folders: [...real, ...own],
    links: links.map((path) => ({ path, target: readlinkSync(path) })),
    files: ["/etc/ld.so.cache"].filter(existsSync),
    devices: ["/dev/null"],
  };
}

function contains(folder: string, path: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}
