/** The Python text that takes a program in, limits its own process, and runs it. */

/** Where the driver reports: a pipe of its own, which children do not inherit. */
export const REPORT_FD = 3;

/**
 * Stdin: one line of JSON { token, limits, alarmSeconds }, then the program to the end. Environment: TMPDIR. Reports "<token> started", then "<token> passed" only after the program's last
 * line has run, in the process that began it: leaving early by any way (sys.exit, os._exit, exec, a signal, a fork) is no pass. The program runs as
 * openai/human-eval runs it, in empty globals, where `__name__` is not "__main__". For Python 3.8 and later.
 */
export const DRIVER = `
import json, linecache, os, resource, signal, sys, traceback

def main():
    header, _, source = sys.stdin.buffer.read().decode("utf-8").partition("\\n")
    header = json.loads(header)
    os.chdir(os.environ["TMPDIR"])
    for name in set(os.environ) - {"HOME", "TMPDIR", "PYTHONHASHSEED"}:
        del os.environ[name]
    os.dup2(1, 2)
    os.set_inheritable(${REPORT_FD}, False)
    for name, value in header["limits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    # Ends the process even where nobody is left to stop it.
    signal.alarm(header["alarmSeconds"])
    # Taken now: the program may put something else in their place, or leave no memory to make them.
    write, leave, getpid, own = os.write, os._exit, os.getpid, os.getpid()
    print_exception, exc_info, stdout, stderr = traceback.print_exception, sys.exc_info, sys.stdout, sys.stderr
    reports = {s: (header["token"] + " " + s + "\\n").encode() for s in ("started", "passed", "failed", "out of memory")}
    header = None
    # Tracebacks show the program's lines.
    linecache.cache["program.py"] = (len(source), None, source.splitlines(True), "program.py")
    write(${REPORT_FD}, reports["started"])
    state = "failed"
    try:
        exec(compile(source, "program.py", "exec", dont_inherit=True), {})
        state = "passed"
    except MemoryError:
        state = "out of memory"
    except BaseException:
        try:
            stdout.flush()
            kind, error, trace = exc_info()
            print_exception(kind, error, trace.tb_next, 50, stderr)
        except BaseException:
            pass
    try:
        stdout.flush()
        stderr.flush()
    except BaseException:
        pass
    if getpid() == own:
        write(${REPORT_FD}, reports[state])
    leave(0 if state == "passed" else 1)

main()
`;
