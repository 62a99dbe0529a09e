/** A hostile program of ours: what an isolation promises is tried before a model's programs are run in it. */
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Isolation } from "./isolation.ts";
import type { Limits } from "./limits.ts";
import { runProcess } from "./run-process.ts";

/** The limits hold everywhere. */
const LIMITS_PROBE = `
def refused(what, act, *errors):
    try:
        act()
    except errors or OSError:
        return
    raise SystemExit("the sandbox lets a program " + what)

def big_file():
    with open("big", "wb") as file:
        file.truncate(FILE_BYTES + 1)

with open("small", "w") as file:
    file.write("x")
refused("take more memory than its limit", lambda: bytearray(MEMORY_BYTES), MemoryError)
refused("write a larger file than its limit", big_file)
`;

/** Only a closed isolation can promise these. */
const CLOSED_PROBE = `
import os, signal, socket

def connect(family, address):
    with socket.socket(family) as client:
        client.settimeout(2)
        client.connect(address)

def fork_too_many():
    children = []
    try:
        for _ in range(MAX_PROCESSES + 1):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

refused("reach the network", lambda: connect(socket.AF_INET, ("127.0.0.1", PORT)))
refused("reach a socket of its user's", lambda: connect(socket.AF_UNIX, os.path.join(FOLDER, "socket")))
refused("signal processes outside", lambda: os.kill(PID, 0))
for folder in (FOLDER, "/", "/usr", "/dev", os.path.dirname(os.__file__)):
    refused("write into " + folder, lambda: open(os.path.join(folder, NAME), "w").close())
refused("run more processes than its limit", fork_too_many)
refused("become another user", lambda: os.setuid(4242))
refused("leave its root", lambda: os.chroot("/tmp"))
`;

/** What is wrong with an isolation on this machine; undefined where all its promises hold. */
export async function probe(isolation: Isolation, limits: Limits): Promise<string | undefined> {
  const folder = mkdtempSync(join(tmpdir(), "graft-probe-"));
  const name = `graft-${randomUUID()}`;
  const network = await listening({ host: "127.0.0.1", port: 0 });
  const socket = await listening({ path: join(folder, "socket") });
  try {
    const { port } = network.server.address() as { port: number };
    const constants = {
      PORT: port,
      PID: process.pid,
      FOLDER: folder,
      NAME: name,
      MEMORY_BYTES: limits.memoryBytes,
      FILE_BYTES: limits.fileBytes,
      MAX_PROCESSES: limits.maxProcesses,
    };
    const source = [
      ...Object.entries(constants).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
      LIMITS_PROBE,
      isolation.isClosed ? CLOSED_PROBE : "",
    ].join("\n");
    // Its own time limit: a machine under load is no hole.
    const ended = await runProcess(source, {
      isolation,
      limits: { ...limits, timeoutMs: 30_000 },
      slot: 0,
      folder,
    });
    // mount and bwrap complain first and give hints after it; a traceback ends with what is wrong.
    if (!ended.started) return ended.complaint.trim().split("\n")[0] || ended.end;
    if (ended.verdict !== "passed")
      return ended.output.trim().split("\n").at(-1)!.replace("SystemExit: ", "") || ended.end;
    if (!isolation.isClosed) return undefined;
    if (existsSync(join(folder, name))) return "the sandbox lets a program write outside";
    if (network.connections() + socket.connections() > 0)
      return "the sandbox lets a program connect to a server outside";
    return undefined;
  } finally {
    network.server.close();
    socket.server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function listening(address: { host: string; port: number } | { path: string }) {
  let count = 0;
  const server: Server = createServer((connection) => {
    count++;
    connection.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(address, resolve);
  });
  return { server, connections: () => count };
}
