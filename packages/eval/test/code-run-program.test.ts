import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Isolation, isolations, NO_ISOLATION } from "../src/code/isolation.ts";
import { parseLimits } from "../src/code/limits.ts";
import { probe } from "../src/code/probe.ts";
import { findPython } from "../src/code/python.ts";
import { createProgramRunner } from "../src/code/run-program.ts";
import type { ProgramOutcome, RunProgram } from "../src/task.ts";
import { processesWith, runnerHere, searchPath, until } from "./code-runner.ts";

setDefaultTimeout(60_000);

// Time enough for a machine that is busy with other things.
const { run: locked, missing } = await runnerHere({ concurrency: 4, timeoutMs: 30_000 });
const run = locked!;
/** For programs that only end by it. */
const { run: brief } = await runnerHere({ timeoutMs: 500, concurrency: 4 });
const folder = mkdtempSync(join(tmpdir(), "graft-outside-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Python that tries each of these and names those that were not refused. */
const refused = (actions: readonly string[]) =>
  `import os, resource, socket
${actions.map((action) => `try:\n    ${action}\nexcept (OSError, ValueError):\n    pass\nelse:\n    print(${JSON.stringify(`not refused: ${action}`)})`).join("\n")}
`;
const runAll = (run: RunProgram, sources: readonly string[]): Promise<ProgramOutcome[]> =>
  Promise.all(sources.map((source) => run(source)));
const passed = { state: "passed", detail: "" } as const;

describe.skipIf(missing !== undefined)(`a locked-down program${missing ? ` (skipped: ${missing})` : ""}`, () => {
  test("passes when its last line has run, and its output is the detail", async () => {
    expect(await run("print('héllo', flush=True)\nimport sys\nprint('bye', file=sys.stderr)")).toEqual({
      state: "passed",
      detail: "héllo\nbye",
    });
    expect(await run("")).toEqual(passed);
  });

  test("that raises, or is no Python, fails with the end of its traceback", async () => {
    const [wrong, syntax, nul, endless] = await Promise.all([
      run("def f(x):\n    assert x == 2, 'not two'\nf(1)"),
      run("def f(:"),
      run("x = '\0'"),
      run("def f():\n    f()\nf()"),
    ]);
    expect(wrong.state).toBe("failed");
    expect(wrong.detail).toContain("assert x == 2, 'not two'");
    expect(wrong.detail.endsWith("AssertionError: not two")).toBe(true);
    expect(syntax.detail).toContain("SyntaxError");
    expect(nul.state).toBe("failed");
    expect(endless.detail).toContain("RecursionError");
  });

  test("does not pass by leaving before its last line, or by looking as if it had come there", async () => {
    const ways: readonly (readonly [string, string])[] = [
      ["sys.exit(0)", "import sys\nsys.exit(0)"],
      ["os._exit(0)", "import os\nos._exit(0)"],
      ["exec of another program", "import os\nos.execv('/bin/true', ['true'])"],
      ["a signal to itself", "import os\nos.kill(os.getpid(), 9)"],
      ["an exit handler", "import atexit, os, sys\natexit.register(lambda: os._exit(0))\nsys.exit(0)"],
      [
        "a thread that ends the process",
        "import os, threading, time\nthreading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(60)",
      ],
      ["a child that goes on in its parent's place", "import os, sys\nif os.fork():\n    os.wait()\n    sys.exit(0)"],
      [
        "builtins that swallow everything",
        "import builtins\nbuiltins.AssertionError = builtins.BaseException = type('Quiet', (Exception,), {})\nbuiltins.exec = builtins.print = lambda *a, **k: 0",
      ],
      [
        "other functions under the driver",
        "import os, sys, traceback\nos.write = os._exit = os.getpid = traceback.print_exception = sys.excepthook = lambda *a, **k: 0",
      ],
      [
        "a report without the token",
        "import os\nfor fd in range(64):\n    try:\n        os.write(fd, b'passed\\n\\n passed\\n' * 9)\n    except OSError:\n        pass",
      ],
      ["closed pipes", "import os\nos.closerange(0, 64)"],
    ];
    const outcomes = await Promise.all(ways.map(([, source]) => run(`${source}\nassert 1 == 2`)));
    expect(outcomes.map(({ state }, i) => [ways[i]![0], state])).toEqual(ways.map(([name]) => [name, "failed"]));
    expect(outcomes[1]!.detail).toBe("ended before its last line: exit code 0");
  });

  test("passes even where it leaves functions of its own behind in the driver's libraries", async () => {
    expect((await run("import os, sys\nos._exit = os.write = sys.stdout = None")).state).toBe("passed");
  });

  test("reaches no network and no socket of its user's", async () => {
    let connections = 0;
    const servers = await Promise.all(
      [{ host: "127.0.0.1", port: 0 }, { path: join(folder, "socket") }].map(
        (address) =>
          new Promise<ReturnType<typeof createServer>>((resolve) => {
            const server = createServer(() => connections++);
            server.listen(address, () => resolve(server));
          }),
      ),
    );
    const { port } = servers[0]!.address() as { port: number };
    const outcome = await run(
      refused([
        `socket.create_connection(("127.0.0.1", ${port}), timeout=2)`,
        `socket.socket(socket.AF_UNIX).connect(${JSON.stringify(join(folder, "socket"))})`,
        `socket.create_connection(("192.0.2.1", 80), timeout=2)`,
        `socket.getaddrinfo("example.com", 80)`,
      ]),
    );
    for (const server of servers) server.close();
    expect(outcome).toEqual(passed);
    expect(connections).toBe(0);
  });

  test("reads the interpreter's libraries, sees nothing of its user's, and writes nowhere but in its own folder", async () => {
    const secret = join(folder, "secret");
    writeFileSync(secret, "key");
    const library = "os.path.dirname(os.__file__)";
    const outcomes = await runAll(run, [
      "import os\nassert len(open(os.__file__).read()) > 1000\nassert os.listdir('/usr')",
      refused([
        `open(${JSON.stringify(secret)})`,
        `os.listdir(${JSON.stringify(import.meta.dir)})`,
        "open('/etc/passwd')",
        "os.listdir('/proc')",
        "os.listdir('/sys')",
        `open(os.path.join(${library}, "graft.py"), "w")`,
        `os.chmod(${library}, 0o777)`,
        `os.rename(os.__file__, os.__file__ + "x")`,
        "open('/graft', 'w')",
        "os.mkdir('/dev/graft')",
        "os.unlink('/bin')",
        // A link is followed inside only, where its target does not exist.
        `os.symlink(${JSON.stringify(folder)}, "out"); open("out/file", "w")`,
        `os.link("/usr/bin/env", "env")`,
      ]),
      `
import os, shutil
os.symlink(os.path.dirname(os.__file__), "library")
for path in ("library", "library/json", "/dev", "."):
    shutil.rmtree(path, ignore_errors=True)
assert os.listdir(os.path.dirname(os.__file__) + "/json")
`,
    ]);
    expect(outcomes).toEqual(outcomes.map(() => passed));
    expect(readdirSync(folder).filter((name) => !["secret", "socket"].includes(name))).toEqual([]);
    expect(readFileSync(secret, "utf8")).toBe("key");
  });

  test("begins in an empty folder of its own, with an empty stdin and no environment of ours", async () => {
    const source = `
import os, sys
assert os.listdir(".") == []
open("left behind", "w").write("x")
os.mkdir("folder"); os.chmod("folder", 0)
assert os.getcwd() == os.environ["HOME"] == os.environ["TMPDIR"]
assert sorted(os.environ) == ["HOME", "PYTHONHASHSEED", "TMPDIR"], dict(os.environ)
assert sys.stdin.read() == ""
print(hash("the same in every run"), __name__)
`;
    const [first, second] = [await run(source), await run(source)];
    expect(first.state, first.detail).toBe("passed");
    expect(second).toEqual(first);
    expect(first.detail.endsWith("builtins")).toBe(true);
  });

  test("has no rights to win: no user, no root, no mounts, no namespaces, no processes of others", async () => {
    const outcomes = await runAll(run, [
      refused([
        "os.setuid(4242)",
        "os.chroot('/tmp')",
        `os.kill(${process.pid}, 0)`,
        "resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))",
      ]),
      `
import ctypes
libc = ctypes.CDLL(None)
READ_ONLY_OFF, NEW_USER = 32 | 4096, 0x10000000
assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == -1
assert libc.mount(None, b"/usr", None, READ_ONLY_OFF, None) == -1
assert libc.unshare(NEW_USER) == -1 or libc.mount(None, b"/usr", None, READ_ONLY_OFF, None) == -1
`,
    ]);
    expect(outcomes).toEqual(outcomes.map(() => passed));
  });

  test("that takes memory without end is stopped by its limit", async () => {
    const outcomes = await runAll(run, [
      "x = [0]\nwhile True:\n    x += x",
      "import ctypes\nx = ctypes.create_string_buffer(2**30)",
    ]);
    expect(outcomes.map(({ state }) => state)).toEqual(outcomes.map(() => "out of memory"));
  });

  test("writes no file over its limit, not all files together, and opens only so many", async () => {
    const outcome = await run(
      refused([
        `open("big", "wb").truncate(2**40)`,
        `f = open("big", "wb", 0); [f.write(bytes(2**20)) for _ in range(17)]`,
        `[open(str(i), "wb").write(bytes(2**23)) for i in range(9)]`,
        `x = [os.open("/dev/null", 0) for _ in range(100)]`,
      ]),
    );
    expect(outcome).toEqual(passed);
  });

  test("that does not end is stopped, whatever it does meanwhile", async () => {
    const outcomes = await runAll(brief!, [
      "while True:\n    pass",
      "import time\ntime.sleep(1000)",
      "import signal, time\nfor s in range(1, 65):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\nwhile True:\n    time.sleep(1)",
      "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
      "x = 9 ** 9 ** 9",
      "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    ]);
    expect(outcomes).toEqual(outcomes.map(() => ({ state: "timed out", detail: "stopped after 0.5 s" })));
  });

  test("that writes without end is read to its end and cut", async () => {
    const [endless, much] = await Promise.all([
      brief!(
        "import os\nwhile True:\n    os.write(1, b'x' * 65536)\n    os.write(2, b'y' * 65536)\n    os.write(3, b'z' * 65536)",
      ),
      run("for i in range(200_000):\n    print('line', i)"),
    ]);
    expect(endless.state).toBe("timed out");
    expect(endless.detail.length).toBeLessThanOrEqual(2000);
    expect(much.state).toBe("passed");
    expect(much.detail.split("\n")).toEqual(Array.from({ length: 20 }, (_, i) => `line ${199_980 + i}`));
  });

  test("leaves no process behind: daemons, bombs, those that ignore signals, those that kill what is above them", async () => {
    const name = `graft-${randomUUID()}`;
    const linger = `os.execv(sys.executable, [${JSON.stringify(name)}, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"])`;
    const daemon = `
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        ${linger}
    os._exit(0)
os.wait()
`;
    const bomb = `
import os, sys
while True:
    try:
        if os.fork() == 0:
            ${linger}
    except OSError:
        pass
`;
    const outcomes = await Promise.all([
      run(daemon),
      brief!(`${daemon}\nwhile True:\n    pass`),
      brief!(bomb),
      brief!("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"),
      run(
        `${daemon}\nimport signal\nfor pid in (os.getppid(), 1, -1):\n    try:\n        os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass\nassert False`,
      ),
    ]);
    expect(outcomes.map(({ state }) => state)).toEqual(["passed", "timed out", "timed out", "timed out", "failed"]);
    expect(processesWith(name)).toEqual([]);
  });

  test("is stopped by a signal, whether it runs or waits for its turn", async () => {
    const name = `graft-${randomUUID()}`;
    const one = await createProgramRunner({ searchPath, timeoutMs: 60_000, concurrency: 1 });
    const stop = new AbortController();
    const running = one(
      `import os, sys\nos.execv(sys.executable, [${JSON.stringify(name)}, "-c", "import time; time.sleep(1000)"])`,
      stop.signal,
    );
    const waiting = one("pass", stop.signal);
    const ended = Promise.allSettled([running, waiting]);
    await until(() => processesWith(name).length > 0);
    stop.abort(new Error("enough"));
    expect((await ended).map((one) => one.status === "rejected" && String(one.reason))).toEqual([
      "Error: enough",
      "Error: enough",
    ]);
    expect(processesWith(name)).toEqual([]);
    await expect(one("pass", AbortSignal.abort(new Error("late")))).rejects.toThrow("late");
    expect((await one("pass")).state).toBe("passed");
  });

  test("ends with the process that runs it, even if that is killed", async () => {
    const name = `graft-${randomUUID()}`;
    const source = `import os, sys\nos.execv(sys.executable, [${JSON.stringify(`${name}-inside`)}, "-c", "import time; time.sleep(1000)"])`;
    const owner = Bun.spawn([process.execPath, join(import.meta.dir, "fixtures/code-endless.ts"), searchPath, source], {
      stdout: "ignore",
      stderr: "ignore",
    });
    const inside = () => processesWith(`${name}-inside`).filter((line) => line.startsWith(name));
    await until(() => inside().length > 0 || owner.exitCode !== null);
    expect(owner.exitCode).toBeNull();
    owner.kill("SIGKILL");
    await owner.exited;
    // The kernel takes a moment; the test's time limit is the bound.
    await until(() => inside().length === 0);
  });

  test("gets its own outcome when many run at once", async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        run(`print(${i}, flush=True)\nassert ${i} % 3 != 0`).then(({ state, detail }) => [
          state,
          detail.split("\n")[0],
        ]),
      ),
    );
    expect(outcomes).toEqual(Array.from({ length: 12 }, (_, i) => [i % 3 === 0 ? "failed" : "passed", String(i)]));
  });

  test("runs in every isolation that this machine has, and the probe finds the holes of one that has some", async () => {
    const python = findPython("python3", searchPath);
    const limits = parseLimits({});
    const available = isolations({ python, searchPath, limits }).filter((isolation) => "command" in isolation);
    const found = await Promise.all(available.map((isolation) => probe(isolation, limits)));
    expect(found).toContain(undefined);
    const open: Isolation = {
      name: "open",
      isClosed: true,
      command: (args) => ["/usr/bin/env", `TMPDIR=${folder}`, python.executable, ...args],
    };
    expect(await probe(open, limits)).toContain("the sandbox lets a program reach the network");
    const withoutDriver: Isolation = { ...open, command: () => ["/bin/echo", "no driver here"] };
    expect(await probe(withoutDriver, limits)).toBe("exit code 0");
  });
});

const python = await Promise.resolve()
  .then(() => findPython("python3", searchPath))
  .catch(() => undefined);

describe.skipIf(python === undefined || process.platform !== "linux")("without isolation", () => {
  test("limits, time and the verdict are the same, and the folder is gone afterwards", async () => {
    const bare = await createProgramRunner({ searchPath, isolation: NO_ISOLATION, timeoutMs: 500 });
    const outcomes = await Promise.all([
      bare("import os\nopen('x', 'w').close()\nprint(os.getcwd())"),
      bare("x = bytearray(10**10)"),
      bare("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'while True: pass'])"),
      bare("import sys\nsys.exit(0)"),
    ]);
    expect(outcomes.map(({ state }) => state)).toEqual(["passed", "out of memory", "timed out", "failed"]);
    expect(outcomes[0]!.detail).toStartWith(tmpdir());
    expect(existsSync(outcomes[0]!.detail)).toBe(false);
  });
});

describe.skipIf(process.platform !== "linux")("a runner is refused", () => {
  test("without Python, or with one that does not work", async () => {
    await expect(createProgramRunner({ searchPath: folder })).rejects.toThrow(
      "no python3 on PATH: HumanEval's programs are Python; install Python 3.8 or later (apt install python3) or name another interpreter",
    );
    const broken = join(folder, "broken-python");
    writeFileSync(broken, "#!/bin/sh\necho 'no such luck' >&2\nexit 3\n");
    chmodSync(broken, 0o755);
    await expect(createProgramRunner({ searchPath, python: broken })).rejects.toThrow(
      `${broken} is no usable Python 3.8 or later: no such luck`,
    );
    writeFileSync(broken, "#!/bin/sh\necho nonsense\n");
    await expect(createProgramRunner({ searchPath, python: broken })).rejects.toThrow("is no usable Python");
  });

  test("for limits that make no sense", async () => {
    for (const [options, field] of [
      [{ timeoutMs: 0 }, "timeoutMs"],
      [{ memoryBytes: 1 }, "memoryBytes"],
      [{ concurrency: 0.5 }, "concurrency"],
      [{ maxProcesses: 1 }, "maxProcesses"],
    ] as const)
      await expect(createProgramRunner({ searchPath, ...options })).rejects.toThrow(`limits of programs: ${field}: `);
  });

  test.skipIf(python === undefined)(
    "where nothing can lock a program down, with every reason and the way out",
    async () => {
      const tools = mkdtempSync(join(tmpdir(), "graft-tools-"));
      for (const [tool, complaint] of [
        ["bwrap", "bwrap: No permissions"],
        ["unshare", "unshare: Operation not permitted"],
      ] as const) {
        writeFileSync(join(tools, tool), `#!/bin/sh\necho '${complaint}' >&2\nexit 1\n`);
        chmodSync(join(tools, tool), 0o755);
      }
      try {
        const refusal = createProgramRunner({ searchPath: `${tools}:${searchPath}` });
        await expect(refusal).rejects.toThrow(
          "bubblewrap: bwrap: No permissions; unshare: unshare: Operation not permitted",
        );
        await expect(refusal).rejects.toThrow(`choose isolation "${NO_ISOLATION}"`);
      } finally {
        rmSync(tools, { recursive: true });
      }
    },
  );
});
