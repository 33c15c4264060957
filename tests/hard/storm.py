"""What storms share: many real processes let go at once, what they said, and what a session is worth afterwards."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from machine import Machine
from oidc_provider.fixture import OidcProvider

TESTS = Path(__file__).parents[1]
LONG_AGO = "2026-01-02T03:04:05.123456789+01:00"
READY_WITHIN = 100.0
"""Seconds that the processes of a storm may take to start."""

DONE_WITHIN = 100.0
"""Seconds that the processes of a storm may take once they are let go."""

# Everything is imported before the barrier, so that the processes meet at the lock and not one after the other.
PROGRAM = """
import os
{without}
import filelock, hashlib, random
from dbx_auth import cli, journal, lock, refresh
from dbx_auth.commands import token
from dbx_auth.sources import databricks_cli
os.write({ready}, b".")
os.read({go}, 1)
cli.main()
"""

WITHOUT_THE_LOCK = """
import fcntl
fcntl.flock = lambda file, operation: None
"""
"""A lock that everybody gets."""

WITHOUT_PATIENCE = """
import fcntl, time
flock, begun = fcntl.flock, time.monotonic()
def impatient(file, operation):
    try:
        flock(file, operation)
    except BlockingIOError:
        if time.monotonic() - begun < 3:
            raise
fcntl.flock = impatient
"""
"""A lock that is waited for, and gone without after 3 s."""


class Said(NamedTuple):
    """What a process said, and how many seconds it took once it was let go."""

    code: int
    out: str
    err: str
    seconds: float


class Caller(NamedTuple):
    """One process of a storm: its arguments, and its environment beyond the machine's."""

    argv: Sequence[str]
    env: dict[str, str]


def storm(machine: Machine, callers: Sequence[Caller], *, without: str = "") -> list[Said]:
    """Start them all, wait until each stands before the barrier, let go; what each said.

    `without` is code that takes a protection away, and is run in each of them first.
    """
    is_ready, ready = os.pipe()
    go, let_go = os.pipe()
    program = PROGRAM.format(without=without, ready=ready, go=go)
    children: list[subprocess.Popen[str]] = []
    try:
        for argv, env in callers:
            children.append(_start(machine, [sys.executable, "-c", program, *argv], env, (ready, go)))
        _wait_for(is_ready, children)
        os.close(let_go)
        let_go = -1
        return _ends(children, time.monotonic())
    finally:
        _clear_away(children)
        for end in {is_ready, ready, go, let_go} - {-1}:
            os.close(end)


def plain_storm(machine: Machine, callers: Sequence[Caller]) -> list[Said]:
    """Start them one after the other, as shells and editors do; what each said."""
    children: list[subprocess.Popen[str]] = []
    begun = time.monotonic()
    try:
        for argv, env in callers:
            children.append(_start(machine, [sys.executable, "-m", "dbx_auth", *argv], env, ()))
        return _ends(children, begun)
    finally:
        _clear_away(children)


def _start(
    machine: Machine, argv: Sequence[str], env: dict[str, str], pass_fds: Sequence[int]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv,
        env=machine.child_env(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
    )


def _wait_for(is_ready: int, children: Sequence[subprocess.Popen[str]]) -> None:
    deadline, missing = time.monotonic() + READY_WITHIN, len(children)
    while missing > 0:
        if select.select([is_ready], [], [], 0.5)[0]:
            missing -= len(os.read(is_ready, missing))
        for child in children:
            assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, f"{missing} of {len(children)} processes did not start"


def _ends(children: Sequence[subprocess.Popen[str]], let_go: float) -> list[Said]:
    def end(child: subprocess.Popen[str]) -> Said:
        out, err = child.communicate(timeout=DONE_WITHIN)
        return Said(child.returncode, out.strip(), err, time.monotonic() - let_go)

    with ThreadPoolExecutor(len(children)) as watchers:
        said = list(watchers.map(end, children))
    tell(figures(one.seconds for one in said))
    return said


def _clear_away(children: Iterable[subprocess.Popen[str]]) -> None:
    for child in children:
        if child.poll() is None:
            child.kill()
            child.communicate()


def figures(seconds: Iterable[float]) -> str:
    """The middle, the slowest in a hundred, and the last, for whoever compares two runs."""
    sorted_ = sorted(seconds)
    p50, p99 = (sorted_[round(share * (len(sorted_) - 1))] for share in (0.5, 0.99))
    return f"{len(sorted_)} processes: p50 {p50:.2f} s, p99 {p99:.2f} s, all in {sorted_[-1]:.2f} s"


def tell(text: str) -> None:
    """What pytest shows with -s, and beside a failure."""
    sys.stdout.write(text + "\n")


def cli_entry(refresh_token: str, **fields: Any) -> dict[str, Any]:
    """An entry of the Databricks CLI's cache that ended long ago; `fields` says otherwise."""
    return {
        "access_token": "long gone",
        "token_type": "Bearer",
        "refresh_token": refresh_token,
        "expiry": LONG_AGO,
        **fields,
    }


def expired_in_the_cli_cache(machine: Machine, oidc: OidcProvider) -> str:
    """An expired login in the Databricks CLI's cache; its access token at the server, which shows whether it lives."""
    login = oidc.login()
    machine.cached_login(oidc.url, **cli_entry(login["refresh_token"]))
    return login["access_token"]


def expired_in_auth_json(machine: Machine, oidc: OidcProvider) -> str:
    """The same as an `oauth` entry of our auth.json."""
    login = oidc.login()
    entry = {"type": "oauth", "host": oidc.url, "access": "long gone", "refresh": login["refresh_token"], "expires": 0}
    machine.write(machine.auth_json, {"databricks": entry, "another": {"type": "api", "key": "of another tool"}})
    return login["access_token"]


def stored(machine: Machine, oidc: OidcProvider) -> tuple[str, str]:
    """The access and the refresh token that are on disk now."""
    if machine.auth_json.exists():
        entry = json.loads(machine.auth_json.read_text())["databricks"]
        return entry["access"], entry["refresh"]
    entry = json.loads(machine.cli_cache.read_text())["tokens"][oidc.url]
    return entry["access_token"], entry["refresh_token"]


def check_all_were_served(said: Sequence[Said], oidc: OidcProvider) -> set[str]:
    """Every process ended well with a token that the workspace takes; the tokens."""
    assert [one for one in said if one.code != 0] == []
    tokens = {one.out for one in said}
    assert {token: oidc.me(token) for token in tokens} == dict.fromkeys(tokens, 200)
    return tokens
