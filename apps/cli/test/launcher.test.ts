/**
 * The launcher at the root, run in a small checkout of its own with an empty home. Bun, npm, curl and the scripts that fetch drivers are stand-ins
 * that write down how they were called: what is tested is what the launcher decides. With GRAFT_TEST_NETWORK=1 the last test does all of it for real.
 */
import { afterAll, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const repository = join(import.meta.dir, "../../..");
const scratch = realpathSync(mkdtempSync(join(tmpdir(), "launcher-")));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** All that the launcher may count on. */
const TOOLS = "sh bash cat cmp cp dirname env flock grep ls mkdir mv readlink rm sed sleep tail touch tr uname".split(
  " ",
);

const BUN = `#!/bin/sh
echo "bun $*" >>"$CALLS"
case $1 in
--version) echo "\${BUN_VERSION_HERE:-1.4.5}" ;;
install) [ -z "\${INSTALL_DIES:-}" ] || { mkdir -p node_modules/half && kill -9 $PPID; } ; mkdir -p node_modules/whole ;;
*/probe-device.ts)
  case "\${LD_LIBRARY_PATH:-}" in
  */lavapipe/loader) printf '' ;;
  */lavapipe/loader:*) echo "\${LAVAPIPE-lavapipe}" ;;
  */swiftshader) echo software ;;
  *) echo "\${SYSTEM-}" ;;
  esac ;;
*/main.ts) shift; echo "arguments: $*"; env ;;
esac
`;

const NPM = `#!/bin/sh
echo "npm $*" >>"$CALLS"
[ -z "\${NPM_FAILS:-}" ] || { echo "npm error: no network"; exit 1; }
mkdir -p node_modules/@oven/bun-linux-x64/bin "$npm_config_cache"
cp "$STAND_INS/bun" node_modules/@oven/bun-linux-x64/bin/bun
`;

/** Fetches an "installer" that does what Bun's does: install into BUN_INSTALL and edit the shell's start-up file. */
const CURL = `#!/bin/sh
echo "curl $*" >>"$CALLS"
while [ "$1" != -o ]; do shift; done
echo 'mkdir -p "$BUN_INSTALL/bin"; cp "$STAND_INS/bun" "$BUN_INSTALL/bin/bun"; echo edited >"$HOME/.bashrc"' >"$2"
`;

const LAVAPIPE = `echo lavapipe >>"$CALLS"
[ -z "\${NO_LAVAPIPE:-}" ] || exit 1
mkdir -p "$1/loader" "$1/lib"; touch "$1/lvp_icd.json"
`;
const SWIFTSHADER = `echo swiftshader >>"$CALLS"
[ -z "\${NO_SWIFTSHADER:-}" ] || exit 1
mkdir -p "$1"; touch "$1/vk_swiftshader_icd.json"
`;

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

let worlds = 0;

/** A checkout with a space in its path, an empty home, and a PATH with the tools and these stand-ins. */
function createWorld(standIns: readonly ("bun" | "npm" | "curl")[] = ["bun"], withoutTools: readonly string[] = []) {
  const folder = join(scratch, `world ${worlds++}`);
  const paths = {
    folder,
    checkout: join(folder, "checkout"),
    home: join(folder, "home"),
    cache: join(folder, "home/.cache/graft"),
    bin: join(folder, "bin"),
    standIns: join(folder, "stand-ins"),
    calls: join(folder, "calls"),
  };
  for (const path of [join(paths.checkout, "scripts"), paths.home, paths.bin, paths.standIns])
    mkdirSync(path, { recursive: true });
  cpSync(join(repository, "graft"), join(paths.checkout, "graft"));
  writeFileSync(join(paths.checkout, "bun.lock"), "one\n");
  writeFileSync(join(paths.checkout, "scripts/provide-lavapipe.sh"), LAVAPIPE);
  writeFileSync(join(paths.checkout, "scripts/provide-swiftshader.sh"), SWIFTSHADER);
  writeFileSync(paths.calls, "");
  for (const tool of TOOLS) {
    const path = Bun.which(tool);
    if (path && !withoutTools.includes(tool)) symlinkSync(path, join(paths.bin, tool));
  }
  for (const [name, text] of Object.entries({ bun: BUN, npm: NPM, curl: CURL })) {
    writeFileSync(join(paths.standIns, name), text);
    chmodSync(join(paths.standIns, name), 0o755);
  }
  for (const name of standIns) symlinkSync(join(paths.standIns, name), join(paths.bin, name));

  async function run(
    args: readonly string[] = ["train"],
    env: Record<string, string | undefined> = {},
    launcher = "graft",
  ): Promise<Result> {
    const child = Bun.spawn([join(paths.bin, "sh"), join(paths.checkout, launcher), ...args], {
      cwd: "/",
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { PATH: paths.bin, HOME: paths.home, CALLS: paths.calls, STAND_INS: paths.standIns, ...env },
    });
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, out, err };
  }

  return {
    ...paths,
    run,
    /** What was called since the last look, without the cheap question for Bun's version. */
    calls(): string[] {
      const lines = readFileSync(paths.calls, "utf8").trim().split("\n").filter(Boolean);
      writeFileSync(paths.calls, "");
      return lines.filter((line) => line !== "bun --version").map((line) => line.replaceAll(folder, ""));
    },
    cached: () => (existsSync(paths.cache) ? readdirSync(paths.cache).toSorted() : []),
  };
}

const linux = test.skipIf(process.platform !== "linux");
const variable = (result: Result, name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(result.out)?.[1];

linux("a first run sets all up and says so; a second says nothing and sets nothing up", async () => {
  const world = createWorld();
  const first = await world.run(["train", "--base_model", "a b"]);
  expect(first.code).toBe(0);
  expect(first.out).toContain("arguments: train --base_model a b\n");
  expect(first.err).toBe("graft: installing the packages of bun.lock (once, until it changes)\n");
  expect(world.calls()).toEqual([
    "bun install --frozen-lockfile --no-progress",
    "bun /checkout/scripts/probe-device.ts",
    "lavapipe",
    "bun /checkout/scripts/probe-device.ts",
    "bun /checkout/apps/cli/src/main.ts train --base_model a b",
  ]);
  const second = await world.run();
  expect(second.err).toBe("");
  expect(world.calls()).toEqual(["bun /checkout/apps/cli/src/main.ts train"]);
  expect(variable(second, "VK_DRIVER_FILES")).toBe(`${world.cache}/lavapipe/lvp_icd.json`);
  expect(variable(second, "LD_LIBRARY_PATH")).toBe(`${world.cache}/lavapipe/loader:${world.cache}/lavapipe/lib`);
  expect(variable(second, "GRAFT_DRIVER")).toBe("lavapipe");
  expect(variable(second, "GRAFT_CACHE")).toBe(world.cache);
  for (const name of ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH", "BUN_RUNTIME_TRANSPILER_CACHE_PATH"])
    expect(variable(second, name)).toStartWith(`${world.cache}/`);
});

linux("nothing but the cache folder appears in the home", async () => {
  const world = createWorld(["npm"]);
  expect((await world.run()).code).toBe(0);
  expect(readdirSync(world.home)).toEqual([".cache"]);
  expect(readdirSync(join(world.home, ".cache"))).toEqual(["graft"]);
  expect(world.cached()).toEqual(["bun", "driver", "lavapipe", "setup.lock", "setup.log"]);
});

linux("GRAFT_CACHE, then XDG_CACHE_HOME, then HOME say where the cache is", async () => {
  const world = createWorld();
  const at = async (env: Record<string, string | undefined>) => variable(await world.run(["help"], env), "GRAFT_CACHE");
  expect(await at({ XDG_CACHE_HOME: `${world.folder}/xdg` })).toBe(`${world.folder}/xdg/graft`);
  expect(await at({ GRAFT_CACHE: `${world.folder}/own`, XDG_CACHE_HOME: `${world.folder}/xdg` })).toBe(
    `${world.folder}/own`,
  );
  expect(await at({ GRAFT_CACHE: `${world.folder}/own`, HOME: undefined })).toBe(`${world.folder}/own`);
});

linux("a home that is missing or cannot be written names GRAFT_CACHE", async () => {
  const world = createWorld();
  for (const HOME of [undefined, "", "/dev/null"]) {
    const { code, out, err } = await world.run(["train"], { HOME });
    expect(code).toBe(1);
    expect(out).toBe("");
    expect(err).toMatch(/^graft: .*GRAFT_CACHE to a folder that can.*\n$/);
  }
});

linux("a Bun that is too old is passed over for a private one", async () => {
  const world = createWorld(["bun", "npm"]);
  // Only the one on PATH is old.
  writeFileSync(join(world.bin, "old"), BUN.replace("1.4.5", "1.3.9"));
  chmodSync(join(world.bin, "old"), 0o755);
  rmSync(join(world.bin, "bun"));
  symlinkSync(join(world.bin, "old"), join(world.bin, "bun"));
  const result = await world.run();
  expect(result.err).toContain("graft: installing Bun 1.4.5 with npm into");
  expect(variable(result, "PATH")).toBe(`${world.cache}/bun:${world.bin}`);
  expect(world.calls()[0]).toMatch(/^npm install .*--ignore-scripts bun@1\.4\.5$/);
  await world.run();
  expect(world.calls()).toEqual(["bun /checkout/apps/cli/src/main.ts train"]);
});

linux("without npm, or where it fails, Bun's installer is used and no start-up file is edited", async () => {
  for (const [standIns, env] of [
    [["curl"], {}],
    [["npm", "curl"], { NPM_FAILS: "1" }],
  ] as const) {
    const world = createWorld(standIns);
    const result = await world.run(["train"], env);
    expect(result.code).toBe(0);
    expect(result.err).toContain("with its installer into");
    expect(readdirSync(world.home)).toEqual([".cache"]);
    expect(world.cached()).toContain("bun");
  }
});

linux("where Bun cannot be had the reason is shown and nothing half-made stays", async () => {
  const world = createWorld(["npm"]);
  const failed = await world.run(["train"], { NPM_FAILS: "1" });
  expect(failed.code).toBe(1);
  expect(failed.err).toContain("npm error: no network\ngraft: Bun is not there and could not be installed; install ");
  expect(world.cached()).toEqual(["setup.lock", "setup.log"]);
  const bare = await createWorld([]).run();
  expect(bare.code).toBe(1);
  expect(bare.err).toMatch(/^graft: Bun is not there and could not be installed; install .*\n$/);
});

linux("packages are installed again when the lock file changes", async () => {
  const world = createWorld();
  await world.run(["help"]);
  world.calls();
  writeFileSync(join(world.checkout, "bun.lock"), "two\n");
  await world.run(["help"]);
  expect(world.calls()).toContain("bun install --frozen-lockfile --no-progress");
  await world.run(["help"]);
  expect(world.calls()).toEqual(["bun /checkout/apps/cli/src/main.ts help"]);
});

linux("an installation that was killed begins anew", async () => {
  const world = createWorld();
  await world.run(["help"], { INSTALL_DIES: "1" });
  expect(readdirSync(join(world.checkout, "node_modules"))).toContain("half");
  // As a killed download leaves it.
  mkdirSync(join(world.cache, "bun.tmp/half"), { recursive: true });
  mkdirSync(join(world.checkout, ".cache/some.tmp"), { recursive: true });
  expect((await world.run()).code).toBe(0);
  expect(readdirSync(join(world.checkout, "node_modules")).toSorted()).toEqual([".graft-lock", "whole"]);
  expect(world.cached()).not.toContain("bun.tmp");
  expect(readdirSync(join(world.checkout, ".cache"))).toEqual(["setup.lock"]);
});

for (const [name, withoutTools] of [
  ["a lock of the kernel", []],
  ["a lock folder, where there is no flock", ["flock"]],
] as const) {
  linux(`four first runs at once set up once: ${name}`, async () => {
    const world = createWorld(["npm"], withoutTools);
    const results = await Promise.all([1, 2, 3, 4].map(() => world.run()));
    expect(results.map((result) => result.code)).toEqual([0, 0, 0, 0]);
    const calls = world.calls();
    for (const once of [/^npm/, /^bun install/, /^lavapipe/])
      expect(calls.filter((call) => once.test(call))).toHaveLength(1);
    expect(calls.filter((call) => call.includes("main.ts"))).toHaveLength(4);
    expect(world.cached().filter((file) => file.endsWith(".tmp") || file.endsWith(".d"))).toEqual([]);
  });
}

linux("a lock folder of a dead process does not hold anyone up", async () => {
  const world = createWorld(["bun"], ["flock"]);
  const dead = Bun.spawn(["true"]);
  await dead.exited;
  mkdirSync(join(world.cache, "setup.lock.d"), { recursive: true });
  writeFileSync(join(world.cache, "setup.lock.d/pid"), `${dead.pid}\n`);
  const result = await world.run();
  expect(result.code).toBe(0);
  expect(result.err).not.toContain("waiting");
});

linux("a GPU's driver, and the system's lavapipe, are used as they are and nothing is fetched", async () => {
  for (const [SYSTEM, kind] of [
    ["gpu", "gpu"],
    ["lavapipe", "system-lavapipe"],
  ] as const) {
    const world = createWorld();
    const result = await world.run(["train"], { SYSTEM });
    expect(variable(result, "GRAFT_DRIVER")).toBe(kind);
    expect(variable(result, "VK_DRIVER_FILES")).toBeUndefined();
    expect(variable(result, "LD_LIBRARY_PATH")).toBeUndefined();
    expect(world.calls()).not.toContain("lavapipe");
  }
});

linux("a slower software driver of the system is better than none and worse than lavapipe", async () => {
  const kindWith = async (env: Record<string, string>) =>
    variable(await createWorld().run(["train"], { SYSTEM: "software", ...env }), "GRAFT_DRIVER");
  expect(await kindWith({})).toBe("lavapipe");
  expect(await kindWith({ NO_LAVAPIPE: "1" })).toBe("system-software");
});

linux("a lavapipe that does not start is removed and SwiftShader fetched", async () => {
  const world = createWorld();
  const result = await world.run(["train"], { LAVAPIPE: "" });
  expect(variable(result, "GRAFT_DRIVER")).toBe("swiftshader");
  expect(variable(result, "VK_DRIVER_FILES")).toBe(`${world.cache}/swiftshader/vk_swiftshader_icd.json`);
  expect(world.cached()).not.toContain("lavapipe");
});

linux("without any driver the command still runs, after one line that says where to look", async () => {
  const world = createWorld();
  const result = await world.run(["train"], { NO_LAVAPIPE: "1", NO_SWIFTSHADER: "1" });
  expect(result.code).toBe(0);
  expect(variable(result, "GRAFT_DRIVER")).toBe("none");
  expect(result.err).toContain("graft: no Vulkan driver was found and none could be fetched");
  // The next run tries again: the network may be back.
  expect(variable(await world.run(), "GRAFT_DRIVER")).toBe("lavapipe");
});

linux("a driver that the user names is not touched", async () => {
  for (const name of ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]) {
    const world = createWorld();
    const result = await world.run(["train"], { [name]: "/own/icd.json", LD_LIBRARY_PATH: "/own" });
    expect(variable(result, name)).toBe("/own/icd.json");
    expect(variable(result, "LD_LIBRARY_PATH")).toBe("/own");
    expect(variable(result, "GRAFT_DRIVER")).toBe("environment");
    expect(world.calls().some((call) => call.includes("probe"))).toBe(false);
  }
});

linux("the record of the driver is made anew when it no longer holds, and by doctor", async () => {
  const world = createWorld();
  const probes = async (args: string[], env: Record<string, string> = {}) => {
    await world.run(args, env);
    return world.calls().filter((call) => call.includes("probe")).length;
  };
  expect(await probes(["train"])).toBe(2);
  expect(await probes(["train"])).toBe(0);
  expect(await probes(["doctor"])).toBe(2);
  rmSync(join(world.cache, "lavapipe"), { recursive: true });
  expect(await probes(["train"])).toBe(2);
  // A driver was installed.
  mkdirSync(join(world.home, ".local/share/vulkan/icd.d"), { recursive: true });
  writeFileSync(join(world.home, ".local/share/vulkan/icd.d/new.json"), "{}");
  expect(await probes(["train"], { SYSTEM: "gpu" })).toBe(1);
  expect(await probes(["train"], { SYSTEM: "gpu" })).toBe(0);
  writeFileSync(join(world.cache, "driver"), "torn");
  expect(await probes(["train"], { SYSTEM: "gpu" })).toBe(1);
});

linux("help and commands without a device do not wait for a driver", async () => {
  const world = createWorld();
  for (const args of [[], ["help"], ["--help"], ["train", "--help"], ["check"], ["tokenize", "x"]]) {
    expect((await world.run(args)).code).toBe(0);
    expect(world.calls().filter((call) => /probe|lavapipe/.test(call))).toEqual([]);
  }
});

linux("the launcher may be called through a link from anywhere", async () => {
  const world = createWorld();
  mkdirSync(join(world.folder, "elsewhere"));
  symlinkSync("../checkout/graft", join(world.folder, "elsewhere/one"));
  symlinkSync(join(world.folder, "elsewhere/one"), join(world.folder, "two"));
  const result = await world.run(["help"], {}, "../two");
  expect(result.code).toBe(0);
  expect(world.calls().at(-1)).toBe("bun /checkout/apps/cli/src/main.ts help");
});

linux("an exit code comes through", async () => {
  const world = createWorld();
  writeFileSync(join(world.standIns, "bun"), BUN.replace("shift;", "exit 7;"));
  expect((await world.run()).code).toBe(7);
});

const network = test.skipIf(process.platform !== "linux" || process.env["GRAFT_TEST_NETWORK"] !== "1");

network(
  "for real: Bun, packages and a driver arrive in an empty home, and doctor finds the driver",
  async () => {
    const folder = join(scratch, "real");
    await Bun.$`git clone -q ${repository} ${folder}/checkout && mkdir ${folder}/home`.quiet();
    const withoutBun = (process.env["PATH"] ?? "")
      .split(":")
      .filter((path) => !existsSync(join(path, "bun")))
      .join(":");
    const { LD_LIBRARY_PATH: _, VK_DRIVER_FILES: __, VK_ICD_FILENAMES: ___, ...inherited } = process.env;
    const doctor = async () => {
      const child = Bun.spawn([join(folder, "checkout/graft"), "doctor", "--json"], {
        stdout: "pipe",
        stderr: "inherit",
        env: {
          ...inherited,
          HOME: join(folder, "home"),
          GRAFT_CACHE: undefined,
          XDG_CACHE_HOME: undefined,
          PATH: withoutBun,
        },
      });
      const out = await new Response(child.stdout).text();
      expect(await child.exited).toBe(0);
      return JSON.parse(out) as { driver: { kind: string }; bun: { isPrivate: boolean }; cacheDir: string };
    };
    const found = await doctor();
    expect(found.bun.isPrivate).toBe(true);
    expect(found.cacheDir).toBe(join(folder, "home/.cache/graft"));
    expect(["gpu", "gpu-private-loader", "system-lavapipe", "lavapipe"]).toContain(found.driver.kind);
    expect(readdirSync(join(folder, "home"))).toEqual([".cache"]);
    expect((await doctor()).driver).toEqual(found.driver);
    expect(dirname(found.cacheDir)).toBe(join(folder, "home/.cache"));
  },
  600_000,
);
