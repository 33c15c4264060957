"""Ctrl-C, a request to end and a closed terminal, at every moment of a refresh: nobody loses a login over them."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

if sys.platform != "linux":
    pytest.skip("asks /proc who holds a lock", allow_module_level=True)
import pexpect
from hard.flight import (
    FILES,
    PROGRAM,
    TELLING,
    WITHOUT_HOLDING_SIGNALS,
    Flight,
    Held,
    Store,
    changed,
    flying,
    lives,
    locked,
    logged_in,
    named,
    until,
)
from hard.hostile import ENDPOINTS, Hostile
from machine import Machine, Result
from oidc_provider.fixture import OidcProvider, installed
from unit.stubs import silence

from dbx_auth.sandbox import Sandbox

pytestmark = pytest.mark.real

Seen = TypeVar("Seen")

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[signal.Signals, OidcProvider]]:
    """For each signal a server that takes its time before it rotates the refresh token, and longer before it says so.

    One for each, so that the three can be tried at once.
    """
    if not installed():
        pytest.skip("npm ci in tests/oidc_provider")
    with ExitStack() as started:
        slow = {number: OidcProvider(delay_before_ms=100, delay_after_ms=600) for number in SIGNALS}
        yield {number: started.enter_context(server) for number, server in slow.items()}


@pytest.fixture
def slow(servers: dict[signal.Signals, OidcProvider]) -> OidcProvider:
    return servers[signal.SIGINT]


Homes = dict[signal.Signals, Machine]


@pytest.fixture
def homes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Homes:
    """For each signal a machine."""
    for number in SIGNALS:
        (tmp_path / number.name).mkdir()
    return {number: Machine(tmp_path / number.name, capsys) for number in SIGNALS}


def for_each_signal(do: Callable[[signal.Signals], Seen]) -> list[Seen]:
    with ThreadPoolExecutor(len(SIGNALS)) as pool:
        return list(pool.map(do, SIGNALS))


class Scene(NamedTuple):
    """A refresh in flight, and how things were before."""

    flight: Flight
    store: Store
    oidc: OidcProvider
    before: Held
    arrived: int
    committed: int


@contextmanager
def refreshing(store: Store, oidc: OidcProvider, program: str = PROGRAM, **how: str) -> Iterator[Scene]:
    """A process that renews an expired login; with -v it tells how far it is before there is anything else to see."""
    before = logged_in(store, oidc)
    counted = oidc.grants()
    env = {"DATABRICKS_HOST": oidc.url}
    with flying(store.machine, "-v", "token", program=program, **how, **env) as flight:
        yield Scene(flight, store, oidc, before, counted["refresh"], counted["refresh_ok"])


# ---- nine moments ----------------------------------------------------------------------------------------------------


def asks_the_sources(scene: Scene) -> bool:
    return "basic: unavailable" in scene.flight.err


def holds_the_lock(scene: Scene) -> bool:
    return scene.flight.holds(scene.store.lock)


def has_reserved_the_disk(scene: Scene) -> bool:
    return bool(list(scene.store.path.parent.glob("*.tmp")) + list(scene.store.path.parent.glob(".*.tmp")))


def has_claimed_the_token(scene: Scene) -> bool:
    return bool(scene.store.claims)


def has_asked(scene: Scene) -> bool:
    return scene.oidc.grants()["refresh"] > scene.arrived


def is_answered(scene: Scene) -> bool:
    """The server has spent the refresh token, and its answer is 600 ms away."""
    return scene.oidc.grants()["refresh_ok"] > scene.committed


def is_about_to_hear(scene: Scene) -> bool:
    until("an answer", lambda: is_answered(scene))
    time.sleep(0.2)
    return True


def has_kept_the_token(scene: Scene) -> bool:
    return scene.store.held() != scene.before


def has_settled_the_claim(scene: Scene) -> bool:
    return has_kept_the_token(scene) and not scene.store.claims


Moment = Callable[[Scene], bool]
MOMENTS: tuple[Moment, ...] = (
    asks_the_sources,
    holds_the_lock,
    has_reserved_the_disk,
    has_claimed_the_token,
    has_asked,
    is_answered,
    is_about_to_hear,
    has_kept_the_token,
    has_settled_the_claim,
)
SPENDING = MOMENTS[3:7]
"""From here on the refresh token is as good as spent, and the process is not yet on its way out."""
LEAVING = MOMENTS[7:]
"""It may be over before the signal comes."""


@pytest.mark.parametrize("moment", MOMENTS, ids=named)
@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_session_survives(
    homes: Homes, servers: dict[signal.Signals, OidcProvider], file: type[Store], moment: Moment
) -> None:
    def interrupted(number: signal.Signals) -> None:
        oidc = servers[number]
        with refreshing(file(homes[number], oidc.url), oidc) as scene:
            scene.flight.until(moment.__name__, lambda: moment(scene))
            scene.flight.send(number)
            ended = scene.flight.ended()
        refreshes = check_nothing_is_lost(scene, ended)
        if moment in SPENDING:
            assert refreshes == 1
        if moment in LEAVING:
            assert ended.code in (0, SIGNALS[number]), ended.err
        else:
            assert ended.code == SIGNALS[number], ended.err

    for_each_signal(interrupted)


def check_nothing_is_lost(scene: Scene, ended: Result) -> int:
    """What is true whenever the signal came: the login is whole, and what was said is all or nothing.

    Returns how often the server was asked to renew the login.
    """
    store, oidc = scene.store, scene.oidc
    held, refreshes = store.held(), oidc.grants()["refresh"] - scene.arrived
    if refreshes:
        assert held and held != scene.before, "what the server gave was thrown away"
        assert oidc.me(held.access) == 200
    else:
        assert held == scene.before
    assert held and ended.out in ("", f"{held.access}\n")
    assert "Traceback" not in ended.err and "Exception ignored" not in ended.err
    assert not store.claims
    assert store.temporary() == []
    assert lives(oidc, held)
    return refreshes


def test_without_the_protection_sessions_die(homes: Homes, servers: dict[signal.Signals, OidcProvider]) -> None:
    """The negative control: at each of these moments a signal that is obeyed at once ends the session for good."""

    def survives(moment: Moment, number: signal.Signals) -> bool:
        oidc = servers[number]
        store = FILES[0](homes[number], oidc.url)
        with refreshing(store, oidc, changed(WITHOUT_HOLDING_SIGNALS)) as scene:
            scene.flight.until(moment.__name__, lambda: moment(scene))
            scene.flight.send(number)
            scene.flight.ended()
        until("a rotation", lambda: is_answered(scene))
        return lives(oidc, store.held())

    survived = []
    for moment in (has_asked, is_answered, is_about_to_hear):
        survived += for_each_signal(partial(survives, moment))
    assert len(survived) == 9 and survived.count(False) >= 7, "some may have been over before the signal came"


# ---- more than one, and one that nobody heeds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "numbers", "code"),
    [
        (FILES[0], (signal.SIGINT, signal.SIGINT), 130),
        (FILES[1], (signal.SIGINT, signal.SIGTERM), 130),
        (FILES[0], (signal.SIGTERM, signal.SIGINT), 143),
        (FILES[1], (signal.SIGHUP, signal.SIGTERM, signal.SIGINT), 129),
    ],
    ids=named,
)
def test_a_second_signal_hurries_nobody(
    machine: Machine, slow: OidcProvider, file: type[Store], numbers: tuple[int, ...], code: int
) -> None:
    store = file(machine, slow.url)
    with refreshing(store, slow) as scene:
        scene.flight.until("an answer", lambda: is_answered(scene))
        for number in numbers:
            scene.flight.send(number)
            time.sleep(0.03)
        ended = scene.flight.ended()
    check_nothing_is_lost(scene, ended)
    assert ended.code == code, ended.err


IGNORING = {signal.SIGHUP: 'trap "" HUP', signal.SIGINT: 'trap "" INT', signal.SIGTERM: 'trap "" TERM'}


@pytest.mark.parametrize("number", IGNORING, ids=lambda number: number.name)
def test_a_signal_that_was_ignored_when_we_started_stays_ignored(
    machine: Machine, slow: OidcProvider, number: signal.Signals
) -> None:
    """As under nohup, and as in the background of a shell."""
    store = FILES[0](machine, slow.url)
    with refreshing(store, slow, before=IGNORING[number]) as scene:
        for moment in (asks_the_sources, holds_the_lock, has_asked, is_answered):
            scene.flight.until(moment.__name__, lambda m=moment: m(scene))  # type: ignore[misc]
            scene.flight.send(number)
        ended = scene.flight.ended()
    check_nothing_is_lost(scene, ended)
    assert ended.code == 0 and ended.out, ended.err


def test_who_does_not_look_whether_it_is_ignored_obeys_it(machine: Machine, slow: OidcProvider) -> None:
    """The negative control of the test above."""
    blind = changed("import signal\nsignal.getsignal = lambda number: signal.SIG_DFL")
    with refreshing(FILES[0](machine, slow.url), slow, blind, before=IGNORING[signal.SIGHUP]) as scene:
        scene.flight.until("a start", lambda: asks_the_sources(scene))
        scene.flight.send(signal.SIGHUP)
        assert scene.flight.ended().code == 129


def test_a_signal_that_is_ignored_hides_none_that_comes_after_it(machine: Machine, slow: OidcProvider) -> None:
    store = FILES[0](machine, slow.url)
    with refreshing(store, slow, before=IGNORING[signal.SIGHUP]) as scene:
        scene.flight.until("an answer", lambda: is_answered(scene))
        scene.flight.send(signal.SIGHUP)
        time.sleep(0.03)
        scene.flight.send(signal.SIGTERM)
        ended = scene.flight.ended()
    check_nothing_is_lost(scene, ended)
    assert ended.code == 143, ended.err


# ---- while somebody waits --------------------------------------------------------------------------------------------


@contextmanager
def waiting_for_a_lock(machine: Machine) -> Iterator[Flight]:
    store = FILES[0](machine, "https://dev.cloud.databricks.com")
    store.put("long gone", "r")
    with locked(store.lock), flying(machine, "token", program=changed(TELLING), DATABRICKS_HOST=store.host) as flight:
        flight.until("a wait", lambda: "<waiting for another process" in flight.err)
        yield flight


@contextmanager
def waiting_for_models(machine: Machine) -> Iterator[Flight]:
    with Hostile({ENDPOINTS: silence}) as server:
        env = {"DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": "dapi-1"}
        with flying(machine, "models", **env) as flight:
            flight.until("a question", lambda: server.asked)
            yield flight


@contextmanager
def waiting_for_the_browser(machine: Machine) -> Iterator[Flight]:
    with Sandbox() as sandbox, flying(machine, "login", sandbox.url, "--method", "browser", BROWSER="true") as flight:
        flight.until("the link", lambda: "open this link" in flight.err)
        yield flight


WAITING = (waiting_for_a_lock, waiting_for_models, waiting_for_the_browser)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("waiting", WAITING, ids=named)
def test_who_waits_ends_at_once(
    machine: Machine, waiting: Callable[[Machine], AbstractContextManager[Flight]], number: signal.Signals
) -> None:
    with waiting(machine) as flight:
        before = machine.files()
        sent = time.monotonic()
        flight.send(number)
        ended = flight.ended(within=20)
        assert time.monotonic() - sent < 2
        assert ended.code == SIGNALS[number], ended.err
        assert ended.out == "" and "Traceback" not in ended.err and "Exception" not in ended.err
        assert machine.files() == before


# ---- on a terminal ---------------------------------------------------------------------------------------------------

ON_A_TERMINAL = """stty -a >"$0/before"
trap : INT TERM HUP
sh -c 'echo $$ >"$0/pid"; exec "$@"' "$0" "$@"
echo "ended with $?"
stty -a >"$0/after"
"""


@contextmanager
def typing(machine: Machine, folder: Path, *argv: str, program: str = PROGRAM, **env: str) -> Iterator[Any]:
    """A shell on a terminal, in which `dbx-auth` runs; the shell says how that ended."""
    folder.mkdir()
    environment = machine.child_env(TERM="xterm", **env)
    command = ["-c", ON_A_TERMINAL, str(folder), sys.executable, "-c", program, *argv]
    child = pexpect.spawn("sh", command, env=environment, encoding="utf-8", timeout=30, dimensions=(40, 120))
    try:
        yield child
    finally:
        child.close(force=True)


def end(person: Any, folder: Path, number: signal.Signals) -> tuple[int, str]:
    """Send the signal, Ctrl-C by the key; the status that the shell saw, and what was on the screen since."""
    if number == signal.SIGINT:
        person.sendintr()
    else:
        import os

        os.kill(int((folder / "pid").read_text()), number)
    person.expect(r"ended with (\d+)\r\n")
    code, said = int(person.match[1]), str(person.before)
    person.expect(pexpect.EOF)
    return code, said


def check_the_terminal_is_as_it_was(folder: Path, screen: str) -> None:
    assert (folder / "after").read_text() == (folder / "before").read_text()
    assert screen.rfind("\x1b[?25l") <= screen.rfind("\x1b[?25h"), "the cursor is hidden"
    assert "Traceback" not in screen
    last = screen.rpartition("\n")[2]
    assert last.rpartition("\x1b[2K")[2] == "", f"the line where the shell goes on is not empty: {last!r}"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_terminal_is_as_it_was_after_a_refresh(
    machine: Machine, slow: OidcProvider, tmp_path: Path, number: signal.Signals
) -> None:
    with OidcProvider(delay_after_ms=900) as oidc:
        store = FILES[0](machine, oidc.url)
        logged_in(store, oidc)
        with typing(machine, tmp_path / "shell", "token", DATABRICKS_HOST=oidc.url) as person:
            until("an answer", lambda: oidc.grants()["refresh_ok"])
            person.expect("refreshing the login … [0-9]+ s left")
            code, screen = end(person, tmp_path / "shell", number)
        assert code == SIGNALS[number]
        check_the_terminal_is_as_it_was(tmp_path / "shell", screen)
        assert lives(oidc, store.held())


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_terminal_is_as_it_was_after_a_wait_for_the_lock(
    machine: Machine, tmp_path: Path, number: signal.Signals
) -> None:
    store = FILES[0](machine, "https://dev.cloud.databricks.com")
    store.put("long gone", "r")
    with locked(store.lock):
        with typing(machine, tmp_path / "shell", "token", DATABRICKS_HOST=store.host) as person:
            person.expect("waiting for another process .* … [0-9]+ s left")
            code, screen = end(person, tmp_path / "shell", number)
    assert code == SIGNALS[number]
    check_the_terminal_is_as_it_was(tmp_path / "shell", screen)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_keys_are_seen_again_after_a_question_that_hid_them(
    machine: Machine, tmp_path: Path, number: signal.Signals
) -> None:
    with Sandbox() as sandbox:
        with typing(machine, tmp_path / "shell", "login", sandbox.url, "--method", "pat") as person:
            person.expect("personal access token: ")
            person.waitnoecho()
            code, screen = end(person, tmp_path / "shell", number)
    assert code == SIGNALS[number]
    after = (tmp_path / "shell" / "after").read_text()
    assert re.search(r"(?<!-)\becho\b", after), "what the person types next is not seen"
    assert after == (tmp_path / "shell" / "before").read_text()
    assert "Traceback" not in screen and not machine.auth_json.exists()


def test_a_program_that_is_ended_without_ado_leaves_the_terminal_blind(machine: Machine, tmp_path: Path) -> None:
    """The negative control of the tests above."""
    hasty = changed("from dbx_auth import cli\ncli.end_in_order = lambda: None")
    with Sandbox() as sandbox:
        argv = ("login", sandbox.url, "--method", "pat")
        with typing(machine, tmp_path / "shell", *argv, program=hasty) as person:
            person.expect("personal access token: ")
            person.waitnoecho()
            assert end(person, tmp_path / "shell", signal.SIGTERM)[0] == 143
    assert "-echo " in (tmp_path / "shell" / "after").read_text()
