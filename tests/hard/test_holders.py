"""Who holds the lock dies, is stopped, or is not what it seems: nobody waits for ever, or refreshes without it."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

if sys.platform != "linux":
    pytest.skip("asks /proc who holds a lock", allow_module_level=True)
from hard.flight import (
    FILES,
    IMPATIENT,
    TELLING,
    CliFile,
    Flight,
    Held,
    OwnFile,
    Store,
    after,
    changed,
    flying,
    holder,
    holds_text,
    lives,
    locked,
    logged_in,
    named,
    numbered,
    with_runtime_dir,
)
from hard.hostile import CONFIG, ME, TOKEN, Answer, Hostile, said
from machine import Machine, Result
from oidc_provider.fixture import OidcProvider, installed
from unit.stubs import http

WAIT = 60.0
"""Seconds that a process waits for another."""


def expired(store: Store, number: int = 0) -> Held:
    return store.put(f"ended-{number}", f"spendable-{number}")


def run(store: Store, *argv: str, program: str = changed()) -> tuple[Result, float]:
    """What a process says, and the seconds that it takes."""
    with flying(store.machine, *(argv or ("token",)), program=program, DATABRICKS_HOST=store.host) as flight:
        return flight.ended(), flight.took()


def waits(flight: Flight) -> None:
    flight.until("a wait", lambda: "<waiting for another process" in flight.err)


# ---- a holder that was killed ----------------------------------------------------------------------------------------

WITHOUT_THE_KERNEL = """
import os, filelock
class FileThatIsThere:
    def __init__(self, path, **options):
        self.path = path + ".taken"
    def acquire(self, blocking):
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise filelock.Timeout(self.path)
    def release(self):
        os.unlink(self.path)
filelock.FileLock = FileThatIsThere
"""
"""A lock that is a file which is there, as many programs have it: nobody takes it away when its holder dies."""


class Killed(NamedTuple):
    """A holder killed before it asked for anything, and who came after it."""

    undisturbed: float
    waiter: Result
    waited_on: float
    next: Result
    next_took: float
    posts: int


def kill_before_the_post(store: Store, *changes: str) -> Killed:
    go_on = threading.Event()
    go_on.set()
    config = after(go_on, http(b"{}", "404 Not Found"))
    answers: list[Answer] = [numbered(number) for number in range(1, 5)]
    with Hostile({CONFIG: config, TOKEN: answers}) as server, ExitStack() as flights:
        store = type(store)(store.machine, server.url)
        expired(store)
        _, undisturbed = run(store, program=changed(*changes))
        posts = len(server.posts)

        expired(store, 1)
        go_on.clear()
        asked = len(server.asked)
        env = {"DATABRICKS_HOST": store.host}
        holding = flights.enter_context(flying(store.machine, "token", program=changed(*changes), **env))
        holding.until("a question under the lock", lambda: len(server.asked) > asked)
        waiting = flights.enter_context(flying(store.machine, "token", program=changed(*changes, TELLING), **env))
        waits(waiting) if not changes else time.sleep(2 * undisturbed)
        holding.send(signal.SIGKILL)
        killed = time.monotonic()
        go_on.set()
        waiter = waiting.ended()
        waited_on = time.monotonic() - killed

        expired(store, 2)
        go_on.clear()
        asked = len(server.asked)
        holding = flights.enter_context(flying(store.machine, "token", program=changed(*changes), **env))
        holding.until("a question or the end", lambda: len(server.asked) > asked or not holding.flies)
        holding.end()
        go_on.set()
        next, next_took = run(store, program=changed(*changes))
        posts_of_all = len(server.posts)
        expired(store, 3)
        undisturbed = max(undisturbed, run(store, program=changed())[1])  # others may have the machine at times
        return Killed(undisturbed, waiter, waited_on, next, next_took, posts_of_all - posts)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_holder_that_was_killed_is_followed_within_a_second(machine: Machine, file: type[Store]) -> None:
    seen = kill_before_the_post(file(machine, ""))
    assert (seen.waiter.code, seen.waiter.out) == (0, "access-2\n"), seen.waiter
    assert (seen.next.code, seen.next.out) == (0, "access-3\n"), seen.next
    assert max(seen.waited_on, seen.next_took) < seen.undisturbed + 1, seen
    assert seen.posts == 2, "one for each login"


def test_a_lock_that_outlives_its_holder_is_never_free_again(machine: Machine) -> None:
    """The negative control of the test above: it is the kernel that lets go of the lock."""
    seen = kill_before_the_post(OwnFile(machine, ""), IMPATIENT, WITHOUT_THE_KERNEL)
    assert seen.waiter.code == seen.next.code == 6, seen
    assert seen.posts == 0


@pytest.fixture
def slow(request: pytest.FixtureRequest) -> Iterator[OidcProvider]:
    if not installed():
        pytest.skip("npm ci in tests/oidc_provider")
    with OidcProvider(delay_after_ms=400) as provider:
        yield provider


def kill_before_the_answer(store: Store, oidc: OidcProvider) -> Held:
    """A holder that dies when the server has rotated, and its answer is not here yet; what the store holds."""
    before = logged_in(store, oidc)
    committed = oidc.grants()["refresh_ok"]
    with flying(store.machine, "token", DATABRICKS_HOST=oidc.url) as flight:
        flight.until("a rotation", lambda: oidc.grants()["refresh_ok"] > committed)
        flight.send(signal.SIGKILL)
        assert flight.ended().code == 137
    assert store.held() == before
    return before


WITHOUT_TOMBSTONES = """
from dbx_auth import refresh
from dbx_auth.journal import Journal
Journal.is_dead = lambda self, refresh: False
refresh.LOOKS = (0.0,)
"""


@pytest.mark.real
@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_holder_that_was_killed_before_the_answer_costs_one_question_and_one_login(
    machine: Machine, slow: OidcProvider, browser: Path, file: type[Store]
) -> None:
    store = file(machine, slow.url)
    before = kill_before_the_answer(store, slow)
    for posts in (1, 0, 0):
        asked = slow.grants()["refresh"]
        result, _ = run(store)
        assert slow.grants()["refresh"] - asked == posts
        assert (result.code, result.out) == (4, ""), result
        assert f"hint: dbx-auth login {slow.url}" in result.err and "Traceback" not in result.err
        assert store.held() == before, "nobody forgets a login for somebody"
    if file is OwnFile:
        anew, _ = run(store, "login", slow.url)
        assert anew.code == 0, anew.err
    else:
        logged_in(store, slow, life=3600)
    result, _ = run(store)
    assert (result.code, slow.me(result.out.strip())) == (0, 200)
    assert lives(slow, store.held())


@pytest.mark.real
def test_without_a_tombstone_every_run_asks_the_server_again(machine: Machine, slow: OidcProvider) -> None:
    store = FILES[0](machine, slow.url)
    kill_before_the_answer(store, slow)
    asked = slow.grants()["refresh"]
    for _ in range(2):
        assert run(store, program=changed(WITHOUT_TOMBSTONES))[0].code == 4
    assert slow.grants()["refresh"] - asked == 2


# ---- a holder that is stopped ----------------------------------------------------------------------------------------

WITHOUT_INSISTING = """
import fcntl, time
flock, begun = fcntl.flock, time.monotonic()
def insist_no_longer(file, operation):
    try:
        flock(file, operation)
    except BlockingIOError:
        if time.monotonic() - begun < 1.5:
            raise
fcntl.flock = insist_no_longer
"""


@pytest.mark.real
def test_who_goes_on_without_the_lock_ends_the_session(machine: Machine, slow: OidcProvider) -> None:
    """The negative control: a lock that is gone without after 1.5 s, while its holder is stopped."""
    store = FILES[0](machine, slow.url)
    logged_in(store, slow)
    with flying(machine, "token", DATABRICKS_HOST=slow.url) as holding:
        holding.until("a rotation", lambda: slow.grants()["refresh_ok"])
        holding.send(signal.SIGSTOP)
        result, _ = run(store, program=changed(WITHOUT_INSISTING))
        assert slow.grants()["refresh"] > 1
        holding.send(signal.SIGCONT)
        holding.ended()
    assert result.code == 4 and not lives(slow, store.held())


# ---- lock files of all kinds -----------------------------------------------------------------------------------------

LEFT = {
    "of a process that died": b"4194305\n",
    "of all processes": b"-1\n",
    "of nobody": b"0\n",
    "empty": b"",
    "words": b"somebody else\n",
    "bytes": bytes(range(256)) * 64,
    "a long number": b"1" * 5000,
}


@pytest.mark.parametrize("content", LEFT)
def test_what_is_in_a_lock_file_keeps_nobody_out(machine: Machine, content: str) -> None:
    with Hostile({TOKEN: numbered(1)}) as server:
        store = OwnFile(machine, server.url)
        expired(store)
        machine.write(store.lock, LEFT[content])
        result = machine.spawn("token", DATABRICKS_HOST=store.host)
        assert (result.code, result.out, result.err) == (0, "access-1\n", "")
    assert re.fullmatch(rb"(\d+\n)?", store.lock.read_bytes()), "it says who holds it, or nothing"


@pytest.mark.parametrize("content", LEFT)
def test_what_is_in_a_lock_file_is_not_taken_for_its_holder(machine: Machine, content: str) -> None:
    """Who holds it here has not signed it, as the Databricks CLI does not; and a hint is there to be pasted."""
    with Hostile({TOKEN: numbered(1)}) as server:
        store = CliFile(machine, server.url)
        expired(store)
        machine.write(store.lock, LEFT[content])
        with locked(store.lock):
            result, took = run(store, program=changed(IMPATIENT))
        assert (result.code, result.out, server.posts) == (6, "", [])
    assert took < 20 and str(store.lock) in result.err
    assert not re.search(r"\bkill\b", result.err), result.err
    assert not re.search(r"\(pid (?!\d+\))", result.err), result.err


def test_a_lock_that_the_databricks_cli_holds_is_not_said_to_be_held_by_one_of_us(machine: Machine) -> None:
    """It shares a lock with us that it does not sign; the last of us to hold it may have ended long ago."""
    with Hostile({TOKEN: [numbered(1), numbered(2)]}) as server:
        store = CliFile(machine, server.url)
        expired(store)
        shared = store.path.with_name("token-cache.lock")
        assert run(store)[0].code == 0
        expired(store, 1)
        with locked(shared):
            result, _ = run(store, program=changed(IMPATIENT))
        assert (result.code, len(server.posts)) == (6, 1), result
    assert str(shared) in result.err
    assert "kill" not in result.err and "pid" not in result.err, result.err


@pytest.mark.parametrize("what", ["a directory", "a link to a file", "a link to nowhere"])
@pytest.mark.parametrize("file", FILES, ids=named)
def test_what_is_no_lock_file_is_left_as_it_is(machine: Machine, tmp_path: Path, file: type[Store], what: str) -> None:
    """Somebody put it there, so that we write to a file of his choice; the refresh is locked elsewhere, or not made."""
    victim = tmp_path / "victim"
    with Hostile({TOKEN: numbered(1)}) as server:
        store = file(machine, server.url)
        expired(store)
        store.folder.mkdir(mode=0o700)
        if what == "a directory":
            store.lock.mkdir()
        else:
            store.lock.symlink_to(victim)
            if what == "a link to a file":
                victim.write_text("precious")
        result, took = run(store, program=changed(with_runtime_dir(tmp_path / "run")))
        assert took < 20 and len(server.posts) == (result.code == 0)
    assert result.code in (0, 5) and str(store.lock) in result.err, result
    assert not victim.exists() if what != "a link to a file" else victim.read_text() == "precious"


WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
"""Even root is then a user like any other."""


@pytest.mark.real
@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_lock_file_that_we_may_only_read_is_told_and_nobody_hangs(
    machine: Machine, tmp_path: Path, file: type[Store]
) -> None:
    """As after a `sudo dbx-auth token`: the file is somebody else's, and somebody else's process holds it."""
    import os

    under = WITHOUT_PRIVILEGES if os.geteuid() == 0 else ()
    with Hostile({TOKEN: numbered(1)}) as server:
        store = file(machine, server.url)
        expired(store)
        machine.write(store.lock, "1\n").chmod(0o444)
        if os.geteuid() == 0:
            os.chown(store.lock, 65534, 65534)
        argv, env = ("token",), {"DATABRICKS_HOST": store.host}
        program = changed(with_runtime_dir(tmp_path / "run"))
        with locked(store.lock), flying(machine, *argv, program=program, under=under, **env) as flight:
            result = flight.ended()
            assert flight.took() < 10
            assert holder(store.lock) == os.getpid(), "it is still ours"
        assert len(server.posts) == (result.code == 0)
    assert result.code in (0, 5) and str(store.lock) in result.err, result
    assert "Permission denied" in result.err and "Traceback" not in result.err


# ---- while we wait ---------------------------------------------------------------------------------------------------

WITHOUT_LOOKING = """
from dbx_auth.lock import Lock
real = Lock.held
Lock.held = lambda self, peek=None, *rest, **named: real(self, lambda: None, *rest, **named)
"""


def adopt(store: Store, *changes: str) -> tuple[Result, float]:
    """A process that waits for a lock which is held for 3.5 s more, while somebody writes a new token without it."""
    expired(store)
    env = {"DATABRICKS_HOST": store.host}
    with ExitStack() as stack:
        lock = stack.enter_context(ExitStack())
        lock.enter_context(locked(store.lock))
        flight = stack.enter_context(flying(store.machine, "token", program=changed(*changes, TELLING), **env))
        waits(flight)
        store.put("of-somebody", "else", life=3000)
        written = time.monotonic()
        threading.Timer(3.5, lock.close).start()
        return flight.ended(), time.monotonic() - written


@pytest.mark.parametrize("file", FILES, ids=named)
def test_what_somebody_writes_without_a_lock_is_adopted_within_a_second_or_so(
    machine: Machine, file: type[Store]
) -> None:
    with Hostile({TOKEN: numbered(1)}) as server:
        result, seconds = adopt(file(machine, server.url))
        assert (result.code, result.out, server.posts) == (0, "of-somebody\n", [])
        assert seconds < 3


def test_who_does_not_look_waits_for_the_lock(machine: Machine) -> None:
    with Hostile({TOKEN: numbered(1)}) as server:
        result, seconds = adopt(FILES[0](machine, server.url), WITHOUT_LOOKING)
        assert result.code == 0 and seconds > 3


# ---- a logout and a new login while a refresh is in flight -----------------------------------------------------------

WITHOUT_A_SECOND_LOOK = """
from dbx_auth import store
def write(self, spent, fresh, room=None):
    data = self._file.read()
    data["databricks"] = {"type": "oauth", **store.grant_fields(fresh)}
    self._file.write(data)
store.OwnSlot.write = write
"""
"""A writer that never asks whether the login is still there."""


def log_out(store: Store) -> Result:
    if isinstance(store, OwnFile):
        return run(store, "logout", store.host)[0]
    return run(store, "logout", "--share", store.host)[0]


def logged_out_in_flight(store: Store, word: threading.Event, server: Hostile, *changes: str) -> Result:
    """A logout between the request of a refresh and its answer."""
    expired(store)
    with flying(store.machine, "token", program=changed(*changes), DATABRICKS_HOST=store.host) as flight:
        flight.until("a request", lambda: server.posts)
        threading.Timer(1.5, word.set).start()  # a logout may wait until the refresh is over
        out = log_out(store)
        assert out.code == 0, out.err
        return flight.ended()


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_logout_is_not_undone_by_a_refresh_in_flight(machine: Machine, file: type[Store]) -> None:
    word = threading.Event()
    with Hostile({TOKEN: after(word, numbered(1))}) as server:
        store = file(machine, server.url)
        ended = logged_out_in_flight(store, word, server)
        assert ended.code in (0, 1, 4) and "Traceback" not in ended.err
        assert store.held() is None
        for secret in ("refresh-1", "access-1", "spendable-0"):
            assert holds_text(machine.home, secret) == []
        assert run(store)[0].code == 4 and len(server.posts) == 1


def test_a_refresh_that_does_not_look_again_undoes_the_logout(machine: Machine) -> None:
    word = threading.Event()
    with Hostile({TOKEN: after(word, numbered(1))}) as server:
        store = OwnFile(machine, server.url)
        logged_out_in_flight(store, word, server, WITHOUT_A_SECOND_LOOK)
        assert store.held() == Held("access-1", "refresh-1")


def logged_in_anew_in_flight(store: Store, *changes: str) -> Held | None:
    """A new login between the request of a refresh and its answer; what the store holds in the end."""
    word = threading.Event()
    config = said({"oidc_endpoint": f"{store.host}/oidc", "workspace_id": "1"}) if store.host else b""
    me = said({"userName": "alice@example.com"})
    with Hostile({CONFIG: config, ME: me, TOKEN: [after(word, numbered(1)), numbered(2)]}) as server:
        store = type(store)(store.machine, server.url)
        expired(store)
        with flying(store.machine, "token", program=changed(*changes), DATABRICKS_HOST=store.host) as flight:
            flight.until("a request", lambda: server.posts)
            store.put("new-access", "new-refresh", life=3000)
            word.set()
            result = flight.ended()
        assert result.code == 0 and result.out in ("access-1\n", "new-access\n"), result
        again, _ = run(store)
        assert again.code == 0 and len(server.posts) == 1, again
        return store.held()


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_new_login_is_not_undone_by_a_refresh_in_flight(machine: Machine, file: type[Store]) -> None:
    assert logged_in_anew_in_flight(file(machine, "")) == Held("new-access", "new-refresh")


def test_a_refresh_that_does_not_look_again_undoes_the_login(machine: Machine) -> None:
    assert logged_in_anew_in_flight(OwnFile(machine, ""), WITHOUT_A_SECOND_LOOK) == Held("access-1", "refresh-1")


@pytest.mark.real
def test_a_login_made_while_a_refresh_is_in_flight_stays(machine: Machine, browser: Path) -> None:
    """The same with our own `login`, which ends before the answer to the refresh is here."""
    if not installed():
        pytest.skip("npm ci in tests/oidc_provider")
    word = threading.Event()
    with OidcProvider() as oidc, Hostile({TOKEN: after(word, numbered(1))}) as far:
        store = OwnFile(machine, oidc.url)
        expired(store)
        patched = changed(
            f"from dbx_auth import oauth\noauth.discover = lambda *_: oauth.Endpoints('', '{far.url}{TOKEN}')"
        )
        with flying(machine, "token", program=patched, DATABRICKS_HOST=oidc.url) as flight:
            flight.until("a request", lambda: far.posts)
            anew, _ = run(store, "login", "--force", oidc.url)
            assert anew.code == 0, anew.err
            held = store.held()
            word.set()
            flight.ended()
        assert store.held() == held and lives(oidc, held)


# ---- a minute later --------------------------------------------------------------------------------------------------


class Stopped(NamedTuple):
    """A holder that was stopped while it waited for the server, and those who wait for it since."""

    store: Store
    life: float
    before: Held
    holder: Flight
    waiters: list[Flight]


class Minute(NamedTuple):
    """What came of it a minute later, when the holders were let go on."""

    scenes: list[Stopped]
    seconds: list[list[float]]
    refreshes: int
    oidc: OidcProvider


WAITERS = 2


@pytest.fixture(scope="module", autouse=True)
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Stopped], OidcProvider] | None]:
    """Four stopped holders: two stores, each with a token that ended and one that serves.

    Their minute passes while the other tests of this file are run; so these are the last.
    """
    if not installed():
        yield None
        return
    with OidcProvider(delay_after_ms=500) as oidc, ExitStack() as flights:
        scenes: list[Stopped] = []
        for file in FILES:
            for life in (-3600.0, 200.0):
                store = file(Machine(tmp_path_factory.mktemp("home"), cast(Any, None)), oidc.url)
                before = logged_in(store, oidc, life)
                env = {"DATABRICKS_HOST": oidc.url}
                flight = flights.enter_context(flying(store.machine, "token", **env))
                count = len(scenes)
                flight.until("a rotation", lambda: oidc.grants()["refresh_ok"] > count)  # noqa: B023
                flight.send(signal.SIGSTOP)
                assert flight.holds(store.lock)
                group = [flying(store.machine, "token", program=changed(TELLING), **env) for _ in range(WAITERS)]
                scenes.append(Stopped(store, life, before, flight, [flights.enter_context(each) for each in group]))
        yield scenes, oidc


def waited(flight: Flight) -> float:
    """Seconds from when it began to wait to its end."""
    began = re.search(r"<waiting for another process.*> (\S+)", flight.err)
    assert began, flight.err
    return flight.started + flight.took() - float(began[1])


@pytest.fixture(scope="module")
def minute(stopped: tuple[list[Stopped], OidcProvider] | None) -> Minute:
    if stopped is None:
        pytest.skip("npm ci in tests/oidc_provider")
    scenes, oidc = stopped
    for scene in scenes:
        for waiter in scene.waiters:
            waiter.ended(within=WAIT + 20)
    seconds = [[waited(waiter) for waiter in scene.waiters] for scene in scenes]
    for scene in scenes:
        scene.holder.send(signal.SIGCONT)
        scene.holder.ended()
    return Minute(scenes, seconds, oidc.grants()["refresh"], oidc)


@pytest.mark.real
def test_who_waits_for_a_stopped_holder_ends_after_a_minute(minute: Minute) -> None:
    for waits in minute.seconds:
        assert len(waits) == WAITERS and all(abs(each - WAIT) <= 2 for each in waits), minute.seconds


@pytest.mark.real
def test_a_token_that_still_serves_is_handed_out_with_a_warning(minute: Minute) -> None:
    waiters = [(scene, each.ended()) for scene in minute.scenes if scene.life > 0 for each in scene.waiters]
    assert len(waiters) == 2 * WAITERS
    for scene, each in waiters:
        assert (each.code, each.out) == (0, f"{scene.before.access}\n"), each
        assert "warning: the token was not renewed" in each.err
        check_the_holder_is_named(scene, each)


@pytest.mark.real
def test_without_one_it_is_temporary(minute: Minute) -> None:
    waiters = [(scene, each.ended()) for scene in minute.scenes if scene.life < 0 for each in scene.waiters]
    assert len(waiters) == 2 * WAITERS
    for scene, each in waiters:
        assert (each.code, each.out) == (6, ""), each
        assert "hint: " in each.err
        check_the_holder_is_named(scene, each)


def check_the_holder_is_named(scene: Stopped, waiter: Result) -> None:
    assert str(scene.store.lock) in waiter.err
    assert re.search(rf"\b{scene.holder.pid}\b", waiter.err), waiter.err


@pytest.mark.real
def test_nobody_refreshed_but_the_holders(minute: Minute) -> None:
    assert minute.refreshes == len(minute.scenes)


@pytest.mark.real
def test_the_holder_that_goes_on_keeps_what_it_got(minute: Minute) -> None:
    for scene in minute.scenes:
        result, held = scene.holder.ended(), scene.store.held()
        assert result.code == 0, result
        assert held and held != scene.before, "what the server gave was thrown away"
        assert result.out == f"{held.access}\n"
        assert lives(minute.oidc, held)
        assert not scene.store.claims and scene.store.temporary() == []
