"""Runs one `dbx-auth` command with a fault in it: killed, or with an error, at a system call of your choice.

    with Warm() as warm:
        run = warm.run(machine, "logout", trace=True)       # run.calls: what it did to the files of the machine
        warm.run(machine, "logout", fault=Fault(run.calls[3], "ENOSPC"))

With strace it is the kernel that answers; `by=FAILPOINTS` patches the functions of `os` instead, which needs neither
strace nor root. Python takes longer to start than a command takes to run, so one process imports everything and is
forked for each run: a sweep is a thousand of them. strace is attached before the command begins, to its main thread
alone, so the count of its calls is exact, and each run is held to have failed where it was meant to.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import httpx
import pytest
from machine import Machine

from dbx_auth.sandbox import Login, Request, Sandbox

STRACE = "strace"
FAILPOINTS = "failpoints"
TIMEOUT = 60.0
MEMORY = "/dev/shm"
"""Where a sweep takes place if it is there: what is to be seen are the calls, and a disk takes its time for each."""

LINK = re.compile(r"(?m)^(https?://\S+)\n")

WRITING = (
    "?open,openat,?creat,write,pwrite64,writev,fallocate,fsync,fdatasync,ftruncate,?truncate,?rename,renameat,"
    "renameat2,?link,linkat,?symlink,symlinkat,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,?chmod,fchmod,fchmodat,close,flock"
)
"""The system calls that change a file, or end a change of it."""

READING = "?open,openat,read,pread64,lseek,?stat,?lstat,newfstatat,statx,?access,faccessat2,?readlink,getdents64"

WARM = """
import importlib, json, os, pkgutil, signal, sys, threading
import dbx_auth
ours = [module.name for module in pkgutil.walk_packages(dbx_auth.__path__, "dbx_auth.")]
others = "difflib encodings.idna filelock http.server keyring platformdirs resource rich secretstorage shlex".split()
others += "socketserver ssl tempfile tomlkit tomllib truststore".split()
for name in ours + others:
    if ".sandbox" not in name and not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ImportError:  # whoever needs it says so
            pass
import httpx
try:
    with httpx.Client(trust_env=False, timeout=1) as client:  # what it imports at its first request
        client.get("http://127.0.0.1:9")
except httpx.TransportError:
    pass

def run(job):
    signal.sigwait({signal.SIGUSR1})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, name, how in ((0, "stdin", os.O_RDONLY), (1, "stdout", flags), (2, "stderr", flags)):
        handle = os.open(job[name], how, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(job["env"])
    os.umask(job["umask"])
    if job["user"]:
        os.setgroups([])
        os.setgid(job["user"])
        os.setuid(job["user"])
    sys.argv = ["dbx-auth", *job["argv"]]
    dbx_auth.world.World.runtime_dir = property(lambda world: job["place"])
    exec(job["patch"], {"__name__": "patch"})
    dbx_auth.cli.main()

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            run(json.loads(line))
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(99)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

FAILING = """
import errno, fcntl, json, os, signal, threading

log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
name_at_fault, number_at_fault, what = {fault!r}
write, main, counts, paths = os.write, threading.main_thread(), {{}}, {{}}

def watched(module, name):
    real = getattr(module, name, None)

    def call(*args, **kwargs):
        if threading.current_thread() is not main:
            return real(*args, **kwargs)
        counts[name] = counts.get(name, 0) + 1
        at_fault = (name, counts[name]) == (name_at_fault, number_at_fault)
        told = [paths.get(a, a) if type(a) is int else a for a in args[:2] if isinstance(a, (int, str))]
        if name == "open":
            told[1:] = [flag for flag in ("O_CREAT", "O_WRONLY", "O_RDWR") if args[1] & getattr(os, flag)]
        fault = what if at_fault else ""
        write(log, json.dumps([name, " ".join(map(str, told)), fault]).encode() + b"\\n")
        if fault == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault:
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number))
        result = real(*args, **kwargs)
        if name == "open":
            paths[result] = os.fspath(args[0])
        return result

    if real:
        setattr(module, name, call)

for each in (
    "open write pwrite writev posix_fallocate fsync fdatasync ftruncate truncate rename replace link symlink unlink "
    "remove rmdir mkdir chmod fchmod close"
).split():
    watched(os, each)
watched(fcntl, "flock")
"""


def need_strace() -> None:
    """Skip the test where system calls cannot be watched."""
    if not shutil.which(STRACE):
        pytest.skip("needs strace")
    need_root("attach strace to a process")


def need_root(what: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"needs root, to {what}")


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


@contextmanager
def small_disk(folder: Path, size: str = "256k") -> Iterator[Path]:
    """A disk of this size, mounted there; skips the test where nothing can be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs root, to mount a disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Call(NamedTuple):
    """One system call of a run: the `number`th of its `name`, what it was told and the answer.

    `writes` is whether it may change something: a file that is only read is none of a sweep's business. `failed` is
    what went wrong, where the fault was.
    """

    name: str
    number: int
    text: str
    result: str = ""
    failed: str = ""
    writes: bool = True

    @property
    def files(self) -> list[str]:
        """The names of the files that it is about, with a star for what is random in them."""
        found = re.findall(r"/([^/\s<>\"(),]+)(?=[\s<>\"(),]|$)", self.text)
        return list(dict.fromkeys(re.sub(r"-\w{8}\.tmp", "-*.tmp", name) for name in found))

    def __str__(self) -> str:
        return f"{self.name} #{self.number} {' '.join(self.files)}"


class Fault(NamedTuple):
    """What goes wrong, `SIGKILL` or the name of an error, and the call at which it does."""

    call: Call
    what: str

    def __str__(self) -> str:
        return f"{self.what} at {self.call}"


class Run(NamedTuple):
    """How a command ended (`code` is -9 when it was killed), and the calls that concern the machine's home."""

    code: int
    out: str
    err: str
    calls: list[Call]

    @property
    def token(self) -> str:
        return self.out.strip()

    @property
    def ended(self) -> str:
        """How it ended, for a person who reads of hundreds of runs."""
        said = [line for line in self.err.splitlines() if line.startswith("dbx-auth: ")]
        return f"ended with {self.code}: {' '.join(said) or self.err.strip()}"[:400]


class Warm:
    """A process that has imported all that a command needs, and is forked for each run of one."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="warm-"))
        self.folder.chmod(0o1777)

    def __enter__(self) -> Self:
        env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "PYTHONPATH")}
        argv = [sys.executable, "-c", WARM]
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            self.__exit__()
            raise RuntimeError("dbx_auth cannot be imported")
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()
        shutil.rmtree(self.folder)

    def run(
        self,
        machine: Machine,
        *argv: str,
        stdin: str = "",
        fault: Fault | None = None,
        trace: bool = False,
        by: str = STRACE,
        calls: str = WRITING,
        patch: str = "",
        umask: int = 0o022,
        user: int = 0,
        visit: bool = False,
        place: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> Run:
        """Run a command on this machine, which fails as `fault` says, or whose `calls` are told where `trace` is set.

        `patch` is Python that is run before; `user` is who runs it; with `visit` somebody opens the link that it shows.
        `place` is what all processes of this user share: nothing is left in the one that this machine really has.
        """
        into = {name: self.folder / name for name in ("stdin", "stdout", "stderr", "trace")}
        for path in into.values():
            path.write_text(stdin if path.name == "stdin" else "")
            path.chmod(0o666)
        if by == FAILPOINTS and (trace or fault):
            told = (*fault.call[:2], fault.what) if fault else ("", 0, "")
            patch = FAILING.format(log=str(into["trace"]), fault=told) + patch
        env = machine.child_env(**(env or {}))
        place = place or self.folder / f"dbx-auth-{user}"
        job = {"argv": argv, "env": env, "patch": patch, "umask": umask, "user": user, "place": str(place)}
        assert self.process.stdin
        print(json.dumps({**job, **{k: str(v) for k, v in into.items()}}), file=self.process.stdin, flush=True)
        child = int(self._line())
        watcher = None
        try:
            if by == STRACE and (trace or fault):
                watcher = _attached(child, into["trace"], calls, fault)
            os.kill(child, signal.SIGUSR1)
            code = int(self._line(into["stderr"] if visit else None))
        except BaseException:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            self._line()
            raise
        finally:
            if watcher:
                watcher.communicate(timeout=TIMEOUT)
        text = into["trace"].read_text(errors="replace")
        seen = list(_within((_traced if by == STRACE else _logged)(text), machine.home))
        found = Run(code, into["stdout"].read_text(), into["stderr"].read_text(), seen)
        if fault:
            _check_where(fault, found)
        return found

    def started(self, machine: Machine, *argv: str, stdin: str = "") -> Run:
        """The same in a process that is started for it, as a person does; it tells its calls, too."""
        log = self.folder / "trace"
        watch = [STRACE, "-y", "-s", "16", "-o", str(log), "-e", f"trace={WRITING}"]
        env = machine.child_env()
        done = subprocess.run(
            [*watch, sys.executable, "-m", "dbx_auth", *argv],
            env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        calls = list(_within(_traced(log.read_text(errors="replace")), machine.home))
        return Run(done.returncode, done.stdout, done.stderr, calls)

    def _line(self, said: Path | None = None) -> str:
        """What the process says next; until then, whoever shows a link in the file `said` is visited."""
        assert self.process.stdout
        deadline = time.monotonic() + TIMEOUT
        while not select.select([self.process.stdout], [], [], 0.005 if said else 1.0)[0]:
            if said and (link := LINK.search(said.read_text())):
                _visit(link[1])
                said = None
            if time.monotonic() > deadline:
                raise TimeoutError(f"a command took more than {TIMEOUT:.0f} s")
        return self.process.stdout.readline().strip()


def _visit(link: str) -> None:
    """Go to the link as a browser does; who showed it may be gone."""
    browser = httpx.Client(verify=NO_TLS, follow_redirects=True, trust_env=False, timeout=10)
    with suppress(httpx.TransportError), browser:
        browser.get(link)


def _attached(child: int, log: Path, calls: str, fault: Fault | None) -> subprocess.Popen[str]:
    """strace, once it watches this process."""
    argv = [STRACE, "-p", str(child), "-y", "-s", "16", "-o", str(log), "-e", f"trace={calls}"]
    if fault:
        how = "signal=SIGKILL" if fault.what == "SIGKILL" else f"error={fault.what}"
        argv += ["-e", f"inject={fault.call.name}:{how}:when={fault.call.number}"]
    watcher = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert watcher.stderr
    line = watcher.stderr.readline()
    assert "attached" in line, line
    return watcher


def _traced(text: str) -> Iterator[Call]:
    """The calls of a log of strace's."""
    counts: dict[str, int] = {}
    for line in text.splitlines():
        if found := re.match(r"(\w+)\((.*?)(?:\) += (.*))?$", re.sub("AT_FDCWD<[^>]*>, ", "", line)):
            name, told, result = found.groups()
            counts[name] = counts.get(name, 0) + 1
            error = re.match(r"-1 (E\w+) .*\(INJECTED\)", result or "")
            failed = error[1] if error else "SIGKILL" if result in (None, "?") else ""
            yield Call(name, counts[name], told, result or "", failed)


def _logged(text: str) -> Iterator[Call]:
    """The calls of a log of FAILING's."""
    counts: dict[str, int] = {}
    for name, told, fault in map(json.loads, text.splitlines()):
        counts[name] = counts.get(name, 0) + 1
        yield Call(name, counts[name], told, "", fault)


def _within(calls: Iterable[Call], home: Path) -> Iterator[Call]:
    """The calls that concern this directory, those that only read told apart."""
    reading: dict[str, int] = {}
    found: list[Call] = []
    for call in calls:
        path = re.search(rf"{re.escape(str(home))}[^\s<>\"(),]*", call.text)
        if path is None:
            continue
        if call.name.startswith("open"):
            reading.pop(path[0], None)
            if not re.search("O_CREAT|O_WRONLY|O_RDWR", call.text):
                reading[path[0]] = len(found)
                call = call._replace(writes=False)
        elif call.name == "fsync" and path[0] in reading:  # of a directory, which is opened to be read
            number = reading.pop(path[0])
            found[number] = found[number]._replace(writes=True)
        elif path[0] in reading and call.name in ("close", "read", "pread64", "lseek", "newfstatat", "getdents64"):
            call = call._replace(writes=False)
        found.append(call)
    yield from found


def _check_where(fault: Fault, run: Run) -> None:
    """A fault that came elsewhere than it was meant to proves nothing."""
    hit = [call for call in run.calls if call.failed]
    assert len(hit) == 1, f"{fault} came {len(hit)} times: {hit}\n{run.err}"
    where = (hit[0].name, hit[0].number, hit[0].failed)
    assert where == (fault.call.name, fault.call.number, fault.what), f"{fault} came at {hit[0]}"


# ---- the commands that write -----------------------------------------------------------------------------------------


class Workspace(Protocol):
    """Who gives logins, and notes what it was asked."""

    @property
    def url(self) -> str: ...

    @property
    def log(self) -> Sequence[Request]: ...

    def add_login(self) -> Login: ...


class Command(NamedTuple):
    """A command that writes, on a machine that is ready for it; `files` is what it replaces and what is there now."""

    machine: Machine
    argv: tuple[str, ...]
    files: dict[Path, bytes | None]
    stdin: str = ""
    visit: bool = False
    patch: str = ""

    @property
    def is_untouched(self) -> bool:
        """Whether every file is byte for byte as it was."""
        return all((path.read_bytes() if path.exists() else None) == old for path, old in self.files.items())

    def run(self, warm: Warm, patch: str = "", **how: Any) -> Run:
        patch = self.patch + patch
        return warm.run(self.machine, *self.argv, stdin=self.stdin, visit=self.visit, patch=patch, **how)


LONG_AGO = "2026-01-02T03:04:05.123456789+01:00"
KEPT = ("keep this", LONG_AGO)
OTHER = "https://other.cloud.databricks.com"
CONFIG = "; ours\n[DEFAULT]\n\n[PROD]\nhost = https://prod.cloud.databricks.com ; the real one\ntoken = keep this\n"
SETTINGS = '# ours\nmin_ttl = 300 # seconds\n\n[models."mine"]\nfamily = "claude"\n'
PROMPT = """
import os, socketserver
import dbx_auth.callback
serve = socketserver.BaseServer.serve_forever
socketserver.BaseServer.serve_forever = lambda self, pause=0.5: serve(self, 0.005)
first = 20000 + os.getppid() % 400 * 20
dbx_auth.callback.PORTS = range(first, first + 20)
"""
"""Ends the wait for the browser at once, not a tenth of a second later: a sweep logs in hundreds of times. And it waits
at ports that no other login has, as one that is taken would be a system call more."""

REFRESH_TOKENS = ("refresh", "refresh_token")
OF_A_GRANT = ("access", "access_token", "expires", "expiry", "expires_in", *REFRESH_TOKENS)


def own_store(machine: Machine, *entries: tuple[str, dict[str, Any]]) -> None:
    """auth.json with these entries, one for another host and one of another tool."""
    others = {
        f"databricks:{OTHER}": {"type": "api", "key": "keep this", "host": OTHER, "note": "keep this"},
        "anthropic": {"type": "oauth", "refresh": "keep this", "access": "keep this"},
    }
    machine.write(machine.auth_json, {**dict(entries), **others})


def cli_store(machine: Machine, **entries: dict[str, Any]) -> None:
    """The Databricks CLI's cache with these entries, one for another host, and what we do not know."""
    other = {"access_token": "keep this", "refresh_token": "keep this", "expiry": LONG_AGO, "added_by": "somebody"}
    machine.write(machine.cli_cache, {"version": 1, "tokens": {OTHER: other, **entries}, "future": [1, None, "ü"]})


def cli_entry(access: str, refresh: str, expiry: str) -> dict[str, str]:
    return {"access_token": access, "token_type": "Bearer", "refresh_token": refresh, "expiry": expiry}


def at(home: Path, machine: Machine) -> Machine:
    """Another machine, whose home is there."""
    return Machine(home, machine._capture)


def _ready(machine: Machine, *argv: str, files: list[Path], stdin: str = "") -> Command:
    return Command(machine, argv, {p: p.read_bytes() if p.exists() else None for p in files}, stdin)


def first_login(machine: Machine, sandbox: Sandbox) -> Command:
    if machine.auth_json.exists():
        machine.auth_json.unlink()
    argv = ("login", sandbox.url, "--with-token")
    return _ready(machine, *argv, files=[machine.auth_json], stdin=sandbox.pat + "\n")


def another_login(machine: Machine, sandbox: Sandbox) -> Command:
    own_store(machine, ("databricks", {"type": "api", "key": "old", "host": sandbox.url, "note": "keep this"}))
    argv = ("login", sandbox.url, "--with-token")
    return _ready(machine, *argv, files=[machine.auth_json], stdin=sandbox.pat + "\n")


def logout(machine: Machine, sandbox: Workspace) -> Command:
    refresh_of_ours(machine, sandbox)
    return _ready(machine, "logout", files=[machine.auth_json])


def setting(machine: Machine, sandbox: Workspace) -> Command:
    path = machine.write(Path(machine.world.config_dir) / "config.toml", SETTINGS)
    return _ready(machine, "config", "set", "profile", "DEV", files=[path])


def refresh_of_ours(machine: Machine, sandbox: Workspace) -> Command:
    login = sandbox.add_login()
    fields = {"type": "oauth", "access": "old", "refresh": login.refresh_token, "expires": 1000, "host": sandbox.url}
    own_store(machine, ("databricks", fields))
    return _ready(machine, "token", files=[machine.auth_json])


def refresh_of_the_cli_s(machine: Machine, sandbox: Workspace) -> Command:
    old = cli_entry("old", sandbox.add_login().refresh_token, "2026-01-02T03:04:05Z")
    cli_store(machine, **{"DEV": dict(old), sandbox.url: dict(old)})
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\nauth_type = databricks-cli\n")
    return _ready(machine, "token", "-p", "DEV", files=[machine.cli_cache])


def shared_login(machine: Machine, sandbox: Sandbox) -> Command:
    old = cli_entry("old", "spent", "2026-01-02T03:04:05Z")
    cli_store(machine, **{"DEV": dict(old), sandbox.url: dict(old)})
    own_store(machine)
    machine.write(machine.config, CONFIG)
    machine.env["BROWSER"] = "none"
    argv = ("login", sandbox.url, "--method", "browser", "--share", "-p", "DEV")
    ready = _ready(machine, *argv, files=[machine.cli_cache, machine.config, machine.auth_json])
    return ready._replace(visit=True, patch=PROMPT)


def shared_logout(machine: Machine, sandbox: Sandbox) -> Command:
    old = cli_entry("old", "spent", "2026-01-02T03:04:05Z")
    cli_store(machine, **{"DEV": dict(old), sandbox.url: dict(old)})
    own_store(machine, ("databricks", {"type": "profile", "profile": "DEV", "host": sandbox.url}))
    machine.write(machine.config, f"[DEV]\nhost = {sandbox.url}\nauth_type = databricks-cli\n")
    return _ready(machine, "-p", "DEV", "logout", "--share", files=[machine.cli_cache, machine.auth_json])


Writer = Callable[[Machine, Any], Command]
WRITERS: dict[str, Writer] = {
    "login --with-token, the first": first_login,
    "login --with-token": another_login,
    "logout": logout,
    "login --share": shared_login,
    "logout --share": shared_logout,
    "config set": setting,
}
RENEWALS: dict[str, Writer] = {
    "token, auth.json": refresh_of_ours,
    "token, token-cache.json": refresh_of_the_cli_s,
}
"""The commands that spend a refresh token."""


UNWRITABLE = """
import dbx_auth.errors, dbx_auth.store
def write(self, *data, **room):
    raise dbx_auth.errors.ConfigError("it cannot be written", hint="wait")
dbx_auth.store.JsonFile.write = write
"""


def put_aside(renewal: Writer, warm: Warm) -> Writer:
    """A machine on which a renewal was sent, and what came of it could not be written to the store."""

    def writer(machine: Machine, workspace: Workspace) -> Command:
        command = renewal(machine, workspace)
        assert "waits aside" in command.run(warm, patch=UNWRITABLE).err
        return command

    return writer


# ---- what they leave -------------------------------------------------------------------------------------------------


class Sweep:
    """The same command, again and again, on a machine of its own each time, with another fault each time."""

    posts = 1
    """How often a refresh token is sent by a command that renews, and the one after it."""

    def __init__(self, writer: Writer, machine: Machine, sandbox: Workspace, warm: Warm) -> None:
        self.writer = writer
        self.machine = machine
        self.sandbox = sandbox
        self.warm = warm
        self.states: set[str] = set()
        self.points = 0
        self.wrong: list[str] = []

    def __call__(self, *whats: str, **how: Any) -> str:
        """Let this go wrong at each call; returns what came of it that should not have, a line for each."""
        with tempfile.TemporaryDirectory(prefix="sweep-", dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:
            whole = self.ready(Path(folder) / "whole")
            run = whole.run(self.warm, trace=True, **how)
            assert run.code == 0, run.err
            self.new = {path.relative_to(whole.machine.home): shape(path) for path in whole.files}
            self.folders = {path.parent for path in whole.files}
            for call, what in product(filter(self.concerns, run.calls), whats):
                fault = Fault(call, what)
                command = self.ready(Path(folder) / f"{self.points:05}")
                self.wrong += [f"{fault}: {problem}" for problem in self.problems(command, fault, how)]
                shutil.rmtree(command.machine.home)
                self.points += 1
        summary = f"{len(self.wrong)} problems at {self.points} points"
        return "\n".join([summary, *self.wrong[:20]]) if self.wrong else ""

    def ready(self, home: Path) -> Command:
        """The command on a machine that has just been set up there."""
        home.mkdir(exist_ok=True)
        return self.writer(at(home, self.machine), self.sandbox)

    def concerns(self, call: Call) -> bool:
        return call.writes

    def problems(self, command: Command, fault: Fault, how: dict[str, Any]) -> Iterator[str]:
        """What is wrong with a run that this happens to, `how` it is to be run, and with the runs after it."""
        raise NotImplementedError

    def state(self, command: Command, path: Path) -> str:
        """Whether a file is the `old` one, the `new` one, or neither: `torn` or `missing`."""
        old = command.files[path]
        if not path.exists():
            return "old" if old is None else "missing"
        if path.read_bytes() == old:
            return "old"
        try:
            found = shape(path)
        except ValueError:
            return "torn"
        return "new" if found == self.new[path.relative_to(command.machine.home)] else "torn"

    def is_good(self, run: Run, store: Path) -> bool:
        """Whether a token was printed that is valid, and the store has the refresh token that renews it."""
        return run.code == 0 and is_valid(self.sandbox, run.token) and is_alive(self.sandbox, store)


def shape(path: Path) -> Any:
    """What a file holds, without what is different in each run: the tokens of the sandbox and when they end.

    Raises ValueError for a file that is torn.
    """
    text = path.read_text()
    if path.suffix != ".json":
        return text

    def masked(fields: dict[str, Any]) -> dict[str, Any]:
        return {k: "…" if k in OF_A_GRANT and v not in KEPT else v for k, v in fields.items()}

    return json.loads(text, object_hook=masked)


def refresh_token(path: Path) -> str:
    """The refresh token of the one login that a store of ours or of the CLI's keeps for the sandbox."""
    found: list[str] = []

    def collect(fields: dict[str, Any]) -> dict[str, Any]:
        found.extend(fields[name] for name in REFRESH_TOKENS if name in fields and fields[name] not in KEPT)
        return fields

    json.loads(path.read_text(), object_hook=collect)
    (one,) = set(found)
    return one


def leftovers(home: Path) -> list[str]:
    """The names of the temporary files below this directory, without what is random in them."""
    return sorted(re.sub(r"-\w{8}\.tmp$", "-*.tmp", path.name) for path in home.rglob("*.tmp"))


def make_old(home: Path) -> None:
    """Let the temporary files below this directory be two hours old."""
    for path in home.rglob("*.tmp"):
        os.utime(path, (time.time() - 7200,) * 2)


def open_to_others(home: Path) -> set[str]:
    """What others can read or write below this directory."""
    return {
        f"{oct(path.lstat().st_mode & 0o777)} {path}"
        for path in home.rglob("*")
        if not path.is_symlink() and path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    }


def counted(sandbox: Workspace, run: Callable[[], Run]) -> tuple[Run, int]:
    """How a run ended, and how often it sent a refresh token to this workspace."""
    before = len(_grants(sandbox))
    return run(), len(_grants(sandbox)) - before


def _grants(sandbox: Workspace) -> list[Request]:
    return [request for request in sandbox.log if request.grant_type == "refresh_token"]


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody, and spares each request the loading of the machine's CAs."""


def is_valid(sandbox: Workspace, token: str) -> bool:
    """Whether the workspace takes this access token."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(verify=NO_TLS, trust_env=False, headers=headers) as client:
        return client.get(f"{sandbox.url}/api/2.0/preview/scim/v2/Me").status_code == 200


def is_alive(sandbox: Workspace, store: Path) -> bool:
    """Whether the refresh token that rests there is the one that the workspace takes next; spends it."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token(store), "client_id": "databricks-cli"}
    with httpx.Client(verify=NO_TLS, trust_env=False) as client:
        return client.post(f"{sandbox.url}/oidc/v1/token", data=form).status_code == 200
