"""A child process: the environment in which it finds its token, and its life: signals, Ctrl-Z, and how it ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from . import output
from .errors import Refused
from .profile import FIELDS, Profile
from .tokens import Token

if TYPE_CHECKING:
    from subprocess import Popen

Changes = dict[str, str | None]
"""Variables of an environment and what becomes of them; None takes one away."""

ANOTHER_IDENTITY = (
    *(name for field in FIELDS.values() if field.method for name in field.env if name.startswith("DATABRICKS_")),
    "DATABRICKS_AUTH_TYPE",
    "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_ACCOUNT_ID",
    "DATABRICKS_WORKSPACE_ID",
    "DATABRICKS_GROUP_ID",
)
"""What would make a Databricks client somebody else, or refuse "more than one authorization method".

`ARM_*` and `GOOGLE_*` stay: other programs need them, and no Databricks client looks at them beside an auth type.
"""

ANOTHER_SERVICE = (
    "OPENAI_API_BASE",
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_VERTEXAI",
)
"""What would send a model client elsewhere, or with another key."""


class NotFound(Refused):
    """There is no such command. The exit code is the one of shells (POSIX, XCU 2.8.2)."""

    exit_code = 127


class NotExecutable(Refused):
    """The command is there, and the system cannot run it."""

    exit_code = 126


# ---- the environment -------------------------------------------------------------------------------------------------


def with_token(profile: Profile, token: Token) -> Changes:
    """A client finds this token and nothing that contradicts it. Raises Refused for one that no variable can hold."""
    return _as(profile, {**output.variables(token), "DATABRICKS_AUTH_TYPE": "pat"})


def with_gateway(profile: Profile, token: Token, env: Mapping[str, str], url: str, key: str, metadata: str) -> Changes:
    """A client asks the gateway at `url` with `key`, or the metadata service at `metadata`; no token is in there."""
    service = {
        **output.place(token),
        "DATABRICKS_AUTH_TYPE": "metadata-service",
        "DATABRICKS_METADATA_SERVICE_URL": metadata,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": key,
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_API_KEY": key,
        **_past_the_proxy(env),
    }
    return {**_as(profile, service), **dict.fromkeys(ANOTHER_SERVICE)}


def _as(profile: Profile, values: Mapping[str, str]) -> Changes:
    """These variables, and of those that say who somebody is no other."""
    account_id = profile.value("account_id")
    known = {**values, **({"DATABRICKS_ACCOUNT_ID": account_id} if account_id else {})}
    return {**known, **{name: None for name in ANOTHER_IDENTITY if name not in known}}


def _past_the_proxy(env: Mapping[str, str]) -> dict[str, str]:
    """No proxy for loopback, where there is one for the rest: it would be shown the key, and cannot reach us."""
    if not any(name.lower() in ("http_proxy", "all_proxy") and value for name, value in env.items()):
        return {}
    changes = {}
    for name, other in (("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")):
        known = env.get(name) or env.get(other, "")
        changes[name] = known if known.strip() == "*" else ",".join(filter(None, (known, "127.0.0.1", "localhost")))
    return changes


def changed(env: Mapping[str, str], changes: Changes) -> dict[str, str]:
    """An environment with these changes."""
    kept = {name: value for name, value in env.items() if name not in changes}
    return {**kept, **{name: value for name, value in changes.items() if value is not None}}


# ---- its life --------------------------------------------------------------------------------------------------------

PASSED_ON = ("SIGINT", "SIGBREAK", "SIGQUIT", "SIGTSTP", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT")
OF_THE_TERMINAL = ("SIGINT", "SIGBREAK", "SIGQUIT", "SIGTSTP")


def attend(start: Callable[[], Popen[bytes]]) -> int:
    """Start a child, and be to the outside what it is until its end: passes signals on, stops when it stops.

    Returns its exit status as a shell has it. A signal that is ignored stays ignored, for the child as well.
    """
    running: list[int] = []
    early: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        if not running:
            early.append(number)
        elif signal.Signals(number).name not in OF_THE_TERMINAL or not _in_foreground():
            _send(running[0], number)

    before = {number: signal.signal(number, pass_on) for number in _heeded()}
    if sys.platform != "win32" and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else nobody is told how a child ended
    try:
        child = start()
        running.append(child.pid)
        for number in early:
            _send(child.pid, number)
        return exit_status(_ended(child))
    finally:
        running.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded() -> list[signal.Signals]:
    known = [signal.Signals[name] for name in PASSED_ON if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) not in (signal.SIG_IGN, None)]


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _in_foreground() -> bool:
    """Whether a signal of the terminal, such as that of Ctrl-C, reaches the child by itself: it is in our group."""
    if sys.platform == "win32":  # pragma: no cover  where every process of a console is told
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # it has been hung up
        return False
    finally:
        os.close(terminal)


def _ended(child: Popen[bytes]) -> int:
    """Wait for the end of a child, and stop whenever it is stopped: the shell looks at us to see whether it is."""
    if sys.platform == "win32":  # pragma: no cover
        return child.wait()
    options = os.WUNTRACED
    while True:
        pid, status = os.waitpid(child.pid, options)
        options = os.WUNTRACED
        if not pid:
            _stop()
        elif os.WIFSTOPPED(status):  # we may have been stopped with it before we heard of it, and both be continued
            options = os.WUNTRACED | os.WCONTINUED | os.WNOHANG
        elif not os.WIFCONTINUED(status):
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode


def _stop() -> None:
    """Stop this process as Ctrl-Z does, until SIGCONT. The system ignores it where no shell could continue us."""
    if sys.platform != "win32":  # where nothing is stopped
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)


def exit_status(code: int) -> int:
    """What a shell says of a process that ended with `code`, which is negative where a signal ended it."""
    if code < 0:
        return 128 - code
    return code - (1 << 32) if code >= 1 << 31 else code  # Windows has 32 bits, and _exit takes them with a sign


def not_run(command: str, env: Mapping[str, str], error: OSError) -> Refused:
    """Why a command could not be started."""
    import shutil
    from shlex import quote

    found = shutil.which(command, os.F_OK, path=env.get("PATH"))
    if not found and not (os.path.dirname(command) and os.path.isdir(command)):
        return NotFound(f"there is no command {quote(command)}", hint=f"command -v {quote(command)}")
    if isinstance(error, FileNotFoundError):
        return NotExecutable(f"the interpreter of {found} is not there", hint=f"head -1 {quote(str(found))}")
    return NotExecutable(f"{command} cannot be run: {error.strerror}", hint=f"ls -ld {quote(found or command)}")
