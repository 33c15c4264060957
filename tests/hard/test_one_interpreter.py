"""One interpreter full of threads, tasks and forks, and one login: renewed once, and nobody waits for ever.

What is tried runs in a program of its own, so that a deadlock is a timeout that tells where everybody stood.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

import pytest
from hard.storm import expired_in_the_cli_cache, stored, tell
from machine import Machine
from oidc_provider.fixture import OidcProvider

from dbx_auth.tokens import format_expiry

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]

THREADS = 50
TASKS = 200
FORKS = 5
DEADLOCKED_AFTER = 60
"""Seconds after which a program tells where its threads stand, and ends."""

COMMON = f"""
import asyncio, collections, contextlib, faulthandler, json, os, signal, sys, threading, time, traceback
import dbx_auth

faulthandler.register(signal.SIGALRM, chain=True)  # shows where the thread of a forked child stands, and ends it
tokens, lock = [], threading.Lock()

def deadlocked():
    "Show where the threads stand, however many stand at one place, and end."
    stacks = collections.Counter("".join(traceback.format_stack(frame)) for frame in sys._current_frames().values())
    for stack, count in stacks.most_common():
        print(count, "threads:", stack, sep="\\n", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)

watchdog = threading.Timer({DEADLOCKED_AFTER}, deadlocked)
watchdog.daemon = True
watchdog.start()

def keep(token):
    with lock:
        tokens.append(token.value)

def forked(task):
    "What `task` returns in a child that is forked here, and how the child ended."
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm({DEADLOCKED_AFTER - 10})
        try:
            os.write(writer, task().encode())
        except BaseException as error:
            os.write(writer, f"{{type(error).__name__}}: {{error}}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said

def at_once(count, work):
    barrier = threading.Barrier(count)
    def worker(number):
        barrier.wait()
        work(number)
    threads = [threading.Thread(target=worker, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads

def told(**answer):
    print(json.dumps(answer))
"""

SHARED = """
credentials = dbx_auth.Credentials()

async def ask(number):
    await asyncio.gather(*(one() for _ in range(TASKS)))

async def one():
    keep(await asyncio.to_thread(credentials.token))

children = []

def fork(number):
    time.sleep(0.1 + 0.15 * number)
    children.append(forked(lambda: credentials.token().value))

threads = at_once(THREADS, lambda number: asyncio.run(ask(number)))
forks = at_once(FORKS, fork)
for thread in threads + forks:
    thread.join()
told(tokens=len(tokens), different=sorted(set(tokens)), children=children)
"""

EACH_ITS_OWN = """
children = []

def ask(number):
    credentials = dbx_auth.Credentials()
    for _ in range(20):
        keep(credentials.token())

def fork(number):
    time.sleep(0.1 + 0.15 * number)
    children.append(forked(lambda: dbx_auth.Credentials().token().value))

for thread in at_once(THREADS, ask) + at_once(FORKS, fork):
    thread.join()
told(tokens=len(tokens), different=sorted(set(tokens)), children=children)
"""

REQUESTS = """
import httpx

async def main():
    async with httpx.AsyncClient(base_url=os.environ['DATABRICKS_HOST'], auth=dbx_auth.Auth(), timeout=50) as client:
        answers = await asyncio.gather(*(client.get("/api/2.0/serving-endpoints") for _ in range(TASKS)))
    told(statuses=[answer.status_code for answer in answers])

asyncio.run(main())
"""

A_PARENT = """
thread = threading.Thread(target=lambda: keep(dbx_auth.Credentials().token()))
thread.start()
sys.stdin.readline()  # the request is on its way, and the lock is held
child = os.fork()
if child == 0:
    signal.alarm(30)
    as_a_child()
    os._exit(0)
print(child, flush=True)
thread.join()
told(different=sorted(set(tokens)))
"""

LEAVES = """
def as_a_child():
    import gc
    gc.collect()
    sys.exit()
"""

STAYS = """
def as_a_child():
    time.sleep(25)
"""

UNLOCKS = """
def as_a_child():
    import fcntl
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").endswith(".lock"):
                fcntl.flock(int(name), fcntl.LOCK_UN)
"""

WITHOUT_FORK_HOOKS = """
import os
os.register_at_fork = lambda **hooks: None
"""
"""Nothing is told to a child that is forked: it has its parent's lock files open."""


def program(*parts: str) -> list[str]:
    names = {"THREADS": THREADS, "TASKS": TASKS, "FORKS": FORKS}
    return [sys.executable, "-c", "\n".join([*(f"{name} = {value}" for name, value in names.items()), *parts])]


def run(machine: Machine, oidc: OidcProvider, text: str) -> dict[str, Any]:
    """Run that program to its end; what it told."""
    env = machine.child_env(DATABRICKS_HOST=oidc.url)
    argv = program(COMMON, text)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=DEADLOCKED_AFTER + 30)
    tell(done.stderr)
    assert done.returncode == 0
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def check_one_refresh_served_all(told: dict[str, Any], oidc: OidcProvider) -> None:
    (token,) = told["different"]
    assert set(told["children"]) <= {token}
    assert oidc.me(token) == 200
    assert (oidc.grants()["refresh"], oidc.grants()["errors"]) == (1, [])


@pytest.fixture
def slow() -> Iterator[OidcProvider]:
    with OidcProvider(delay_before_ms=500, delay_after_ms=500) as provider:
        yield provider


def test_ten_thousand_tasks_in_fifty_threads_share_one_refresh_with_the_children_forked_meanwhile(
    machine: Machine, slow: OidcProvider
) -> None:
    expired_in_the_cli_cache(machine, slow)
    told = run(machine, slow, SHARED)
    assert (told["tokens"], len(told["children"])) == (THREADS * TASKS, FORKS)
    check_one_refresh_served_all(told, slow)


def test_fifty_threads_with_credentials_of_their_own_share_one_refresh_all_the_same(
    machine: Machine, slow: OidcProvider
) -> None:
    expired_in_the_cli_cache(machine, slow)
    told = run(machine, slow, EACH_ITS_OWN)
    assert (told["tokens"], len(told["children"])) == (THREADS * 20, FORKS)
    check_one_refresh_served_all(told, slow)


def test_two_hundred_requests_after_an_expiry_share_one_refresh(machine: Machine, slow: OidcProvider) -> None:
    expired_in_the_cli_cache(machine, slow)
    assert run(machine, slow, REQUESTS)["statuses"] == [200] * TASKS
    assert (slow.grants()["refresh"], slow.grants()["errors"]) == (1, [])


def test_two_hundred_requests_that_are_refused_share_one_refresh(machine: Machine, slow: OidcProvider) -> None:
    login = slow.login()
    fresh = format_expiry(time.time() + 3000)
    machine.cached_login(slow.url, access_token="gone", refresh_token=login["refresh_token"], expiry=fresh)
    assert run(machine, slow, REQUESTS)["statuses"] == [200] * TASKS
    assert (slow.grants()["refresh"], slow.grants()["errors"]) == (1, [])


class Forked:
    """A program that forks a child while it holds the lock and waits for a slow server."""

    def __init__(self, machine: Machine, oidc: OidcProvider, *parts: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = machine.child_env(DATABRICKS_HOST=oidc.url)
        self.parent = subprocess.Popen(program(*parts, A_PARENT), env=env, text=True, **pipes)  # type: ignore[call-overload]
        while oidc.grants()["refresh"] == 0:
            assert self.parent.poll() is None, self.parent.stderr.read()
            time.sleep(0.05)
        self.parent.stdin.write("\n")
        self.parent.stdin.flush()
        self.child = int(self.parent.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.parent.kill()
        with suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)
        self.parent.communicate()

    def tokens(self) -> list[str]:
        """What the parent got in the end."""
        out, err = self.parent.communicate(timeout=DEADLOCKED_AFTER)
        assert self.parent.returncode == 0, err
        tokens: list[str] = json.loads(out)["different"]
        return tokens


@pytest.fixture
def very_slow() -> Iterator[OidcProvider]:
    with OidcProvider(delay_before_ms=4000) as provider:
        yield provider


def test_a_forked_child_that_ends_does_not_unlock_for_its_parent(machine: Machine, very_slow: OidcProvider) -> None:
    expired_in_the_cli_cache(machine, very_slow)
    with Forked(machine, very_slow, COMMON, LEAVES) as forked:
        another = machine.spawn("token", DATABRICKS_HOST=very_slow.url)
        assert [another.out.strip()] == forked.tokens() == [stored(machine, very_slow)[0]]
    assert (very_slow.grants()["refresh"], very_slow.grants()["errors"]) == (1, [])


@pytest.mark.parametrize("protected", [True, False])
def test_a_forked_child_has_nothing_to_unlock(machine: Machine, very_slow: OidcProvider, protected: bool) -> None:
    access = expired_in_the_cli_cache(machine, very_slow)
    with Forked(machine, very_slow, "" if protected else WITHOUT_FORK_HOOKS, COMMON, UNLOCKS) as forked:
        machine.spawn("token", DATABRICKS_HOST=very_slow.url)
        forked.parent.wait(DEADLOCKED_AFTER)
    lives = (very_slow.grants()["refresh"], very_slow.me(access)) == (1, 200)
    assert lives is protected


@pytest.mark.parametrize("protected", [True, False])
def test_a_forked_child_does_not_keep_the_lock_of_a_parent_that_was_killed(
    machine: Machine, very_slow: OidcProvider, protected: bool
) -> None:
    expired_in_the_cli_cache(machine, very_slow)
    with Forked(machine, very_slow, "" if protected else WITHOUT_FORK_HOOKS, COMMON, STAYS) as forked:
        forked.parent.kill()
        forked.parent.wait()
        next_one = subprocess.Popen(
            [sys.executable, "-m", "dbx_auth", "token"],
            env=machine.child_env(DATABRICKS_HOST=very_slow.url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            next_one.wait(10)
            had_the_lock = True
        except subprocess.TimeoutExpired:
            had_the_lock = False
        finally:
            next_one.kill()
            next_one.wait()
    assert had_the_lock is protected
