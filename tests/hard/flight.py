"""A refresh in flight: started as a shell starts it, watched from outside, and met at the moment that matters."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from hard.hostile import Answer, tokens
from machine import Machine, Result
from oidc_provider.fixture import OidcProvider
from unit.stubs import Script

from dbx_auth.tokens import format_expiry

PROGRAM = "from dbx_auth.cli import main; main()"

WITHOUT_HOLDING_SIGNALS = """
from contextlib import nullcontext
from dbx_auth.world import World
real = World.terminal
World.terminal = lambda **options: real(**options)._replace(uninterrupted=nullcontext)
"""

TELLING = """
import time
from contextlib import contextmanager
from dbx_auth.world import World, tell
terminal = World.terminal
@contextmanager
def waiting(what, seconds):
    tell(f"<{what}> {time.time()}")
    yield
World.terminal = lambda **options: terminal(**options)._replace(waiting=waiting)
"""
"""What a person would see on a terminal while we wait, and since when, where there is none."""

IMPATIENT = """
from dbx_auth import lock
lock.LOCK_WAIT = 1.0
"""

SHELL = """{before}
sh -c 'echo $$ >"$0/pid"; exec "$@"' "$0" "$@" {streams}
echo $? >"$0/status"
"""
STREAMS = '<"$0/stdin" >"$0/stdout" 2>"$0/stderr"'


def changed(*changes: str) -> str:
    """`dbx-auth` with something about it changed, or taken away."""
    return "\n".join([*changes, PROGRAM])


def with_runtime_dir(folder: Path) -> str:
    """The change that has the locks here which would be where those of this user are, and would stay there."""
    return f"from dbx_auth.world import World\nWorld.runtime_dir = property(lambda self: {str(folder)!r})"


# ---- a login at rest -------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """What a store holds of a login."""

    access: str
    refresh: str


class Store:
    """The login of one host in one of the files that keep logins, read and written without a word of ours."""

    name: str

    def __init__(self, machine: Machine, host: str) -> None:
        self.machine = machine
        self.host = host
        self.id = hashlib.sha256(host.encode()).hexdigest()[:16]

    @property
    def path(self) -> Path:
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """Where the lock and the journal of its refreshes are."""
        raise NotImplementedError

    def put(self, access: str, refresh: str, life: float = -3600.0) -> Held:
        """Keep a login whose token ends in so many seconds; it has ended an hour ago unless that is said."""
        raise NotImplementedError

    def held(self) -> Held | None:
        raise NotImplementedError

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.id}.lock"

    @property
    def journal(self) -> dict[str, Any]:
        """What is written down about the refreshes of this login."""
        with suppress(FileNotFoundError, ValueError):
            found = json.loads((self.folder / f"{self.id}.json").read_text())
            if isinstance(found, dict):
                return found
        return {}

    @property
    def claims(self) -> Any:
        """The refresh tokens that are said to be on their way to the server."""
        return self.journal.get("claims")

    def temporary(self) -> list[Path]:
        """Temporary files, wherever in the home."""
        return list(self.machine.home.rglob("*.tmp"))


class CliFile(Store):
    name = "token-cache.json"

    @property
    def path(self) -> Path:
        return self.machine.cli_cache

    @property
    def folder(self) -> Path:
        return self.path.parent / ".dbx-auth"

    def put(self, access: str, refresh: str, life: float = -3600.0) -> Held:
        ends = format_expiry(time.time() + life)
        self.machine.cached_login(self.host, access_token=access, refresh_token=refresh, expiry=ends)
        return Held(access, refresh)

    def held(self) -> Held | None:
        entry = json.loads(self.path.read_text())["tokens"].get(self.host)
        return Held(entry["access_token"], entry["refresh_token"]) if entry else None


class OwnFile(Store):
    name = "auth.json"

    @property
    def path(self) -> Path:
        return self.machine.auth_json

    @property
    def folder(self) -> Path:
        return self.path.parent / "refresh"

    def put(self, access: str, refresh: str, life: float = -3600.0) -> Held:
        ends = round((time.time() + life) * 1000)
        entry = {"type": "oauth", "access": access, "refresh": refresh, "expires": ends, "host": self.host}
        self.machine.write(self.path, {"databricks": entry})
        return Held(access, refresh)

    def held(self) -> Held | None:
        entry = json.loads(self.path.read_text()).get("databricks")
        return Held(entry["access"], entry["refresh"]) if entry else None


FILES: tuple[type[Store], ...] = (CliFile, OwnFile)


def named(store: object) -> str:
    """What a parameter is called in the name of a test."""
    return getattr(store, "name", "") or getattr(store, "__name__", "").strip("_") or str(store)


def logged_in(store: Store, oidc: OidcProvider, life: float = -3600.0) -> Held:
    """A login of this server's in the store; its session lives, whatever the store says of the token."""
    login = oidc.login()
    return store.put("long gone" if life < 0 else login["access_token"], login["refresh_token"], life)


def spend(oidc: OidcProvider, refresh: str) -> dict[str, Any]:
    """What the server answers to a refresh token, asked without a word of ours."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "databricks-cli"}
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer: dict[str, Any] = client.post(f"{oidc.url}/oidc/v1/token", data=form).json()
    return answer


def lives(oidc: OidcProvider, held: Held | None) -> bool:
    """Whether the session lives: the refresh token works once more, and gives a token that the workspace takes."""
    return held is not None and oidc.me(str(spend(oidc, held.refresh).get("access_token"))) == 200


# ---- a process in flight ---------------------------------------------------------------------------------------------


def until(what: str, condition: Callable[[], Any], *, within: float = 30.0) -> Any:
    """What the condition says once it says anything; it is asked all the time, as moments are short."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never came to: {what}"
        time.sleep(0.001)
    return found


class Flight:
    """`dbx-auth` under a shell, and what the shell sees of it in the end."""

    def __init__(self, folder: Path, shell: subprocess.Popen[bytes], started: float) -> None:
        self.folder = folder
        self.shell = shell
        self.started = started

    @property
    def pid(self) -> int:
        def written() -> str:
            with suppress(FileNotFoundError):
                text = (self.folder / "pid").read_text()
                return text if text.endswith("\n") else ""
            return ""

        return int(until("a process id", written))

    @property
    def out(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def flies(self) -> bool:
        return self.shell.poll() is None

    def until(self, what: str, condition: Callable[[], Any], *, within: float = 30.0) -> Any:
        """As the function of that name, and it is no use to wait for a process that has ended."""

        def looked() -> Any:
            flies = self.flies
            found = condition()
            assert found or flies, f"ended before it came to: {what}\n{self.err}"
            return found

        return until(what, looked, within=within)

    def send(self, *signals: int) -> None:
        """Send it these signals; it may have ended before they come."""
        pid = self.pid
        with suppress(ProcessLookupError):
            for each in signals:
                os.kill(pid, each)

    def holds(self, path: Path) -> bool:
        """Whether it has locked this file; the kernel is asked, for to try would be to disturb."""
        return holder(path) == self.pid

    def ended(self, *, within: float = 60.0) -> Result:
        """What it said, and the status that a shell has for it."""
        self.shell.wait(timeout=within)
        return Result(int((self.folder / "status").read_text()), self.out, self.err)

    def took(self) -> float:
        """Seconds from its start to its end."""
        self.ended()
        return (self.folder / "status").stat().st_mtime - self.started

    def end(self) -> None:
        """Leave nothing of it behind."""
        if self.flies:
            self.send(signal.SIGKILL)
        self.shell.wait(timeout=30)


@contextmanager
def flying(
    machine: Machine,
    *argv: str,
    program: str = PROGRAM,
    before: str = "",
    under: Sequence[str] = (),
    stdin: str = "",
    **env: str,
) -> Iterator[Flight]:
    """A process in flight; the shell does what stands in `before` first, and starts it `under` a program.

    Nothing of it is left in the end.
    """
    with tempfile.TemporaryDirectory(prefix="flight-") as name:
        folder = Path(name)
        (folder / "stdin").write_text(stdin)
        for stream in ("stdout", "stderr"):
            (folder / stream).touch()
        script = SHELL.format(before=before, streams=STREAMS)
        command = ["sh", "-c", script, name, *under, sys.executable, "-c", program, *argv]
        started = time.time()
        flight = Flight(folder, subprocess.Popen(command, env=machine.child_env(**env)), started)
        try:
            yield flight
        finally:
            flight.end()


def holder(path: Path) -> int:
    """The process that has locked this file, 0 where that is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    locks = Path("/proc/locks").read_text()
    taken = re.search(rf"(?m)^\d+: FLOCK +ADVISORY +WRITE +(\d+) {place} ", locks)
    return int(taken[1]) if taken else 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock as another process does that uses no library of ours."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# ---- a server that waits for a word ----------------------------------------------------------------------------------


def after(word: threading.Event, answer: Answer) -> Script:
    """This answer, once somebody has given the word."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        while not (word.wait(0.01) or over.is_set()):
            pass
        if callable(answer):
            answer(connection, over)
        else:
            connection.sendall(answer)

    return script


def numbered(number: int) -> bytes:
    """A grant that can be told from others."""
    return tokens(access_token=f"access-{number}", refresh_token=f"refresh-{number}")


def hashed(text: str) -> str:
    """A token as a journal may name it."""
    return hashlib.sha256(text.encode()).hexdigest()


def holds_text(folder: Path, text: str) -> list[Path]:
    """The files below a folder in which this text stands, in the clear or as JSON escapes nothing of it."""
    return [p for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]
