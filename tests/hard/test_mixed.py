"""Next to programs that take no lock: the file is never torn, whoever was faster is followed, and the session lives.

The Databricks CLI of today is such a program; `official_cli` takes its place. Once the access token has ended nothing
can keep one of ours and one of these from spending the same refresh token at once, and the server ends the session.
Before that, ours are five minutes earlier.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
from filelock import FileLock
from hard.official_cli import Failed, OfficialCli
from hard.storm import TESTS, WITHOUT_THE_LOCK, cli_entry, tell
from machine import Machine
from oidc_provider.fixture import OidcProvider

from dbx_auth.tokens import format_expiry

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KEY = "DEV"
RUNS = 20
OURS = 10
CREWS = 4
"""Runs that go on at once; each has a home and a login of its own."""

CHANCE = 3
"""Runs in which a start falls so close to the end of another's request that the scheduler decides: one in twenty, and
three of them by chance once in two hundred times."""

TEARING = """
import os, time
def torn(source, target):
    with open(source, "rb") as file:
        data = file.read()
    with open(target, "wb") as file:
        file.write(data[:100])
        file.flush()
        time.sleep(0.02)
        file.write(data[100:])
    os.unlink(source)
os.replace = torn
"""
"""A file that is written where it stands."""


A_SLOW_DISK = """
import time
from dbx_auth.journal import Journal
claim = Journal.claim
Journal.claim = lambda *its: (claim(*its), time.sleep(0.8))
"""
"""To get ready for the request takes a while."""

WITHOUT_THE_LAST_LOOK = """
from dbx_auth import refresh
refresh._is_replaced = lambda found, stored: False
"""
"""What was read before all that is spent after it."""

WITHOUT_LOOKING = """
from dbx_auth import refresh
refresh.LOOKS = ()
"""
"""Whoever is refused believes it."""

NO_EARLIER = """
from dbx_auth import refresh
refresh.AHEAD = 300.0
"""
"""Ours act when the Databricks CLI does."""


Kind = Literal["ours", "official", "reference"]


class Start(TypedDict):
    """One program of a run: when it starts, in seconds, and how many seconds its clock is ahead of ours."""

    kind: Kind
    at: float
    ahead: float


Wave = list[Start]
"""Programs that start within a second of each other."""


class Run(TypedDict):
    """One home with one login, and the programs that ask for its token, each wave when the one before it is over."""

    home: str
    host: str
    waves: list[Wave]


class End(TypedDict):
    """How one program ended, and from when to when it ran."""

    kind: Kind
    code: int
    out: str
    err: str
    began: float
    at: float


class Look(TypedDict):
    """What a reader found in the file for the first time, and when."""

    access: str
    refresh: str
    at: float


class Outcome(TypedDict):
    ends: list[End]
    looks: list[Look]
    damaged: list[str]


# ---- in a program of its own, from which light processes are forked


def crew() -> None:
    """Play the runs that stdin has, one after the other, and tell stdout how each ended."""
    from dbx_auth import journal, lock, oauth, refresh, resolve
    from dbx_auth.commands import token
    from dbx_auth.sources import databricks_cli

    assert oauth and resolve and token and databricks_cli and journal and lock, "warm is what their children shall be"
    refresh.load(*refresh.HTTP)
    for run in json.load(sys.stdin):
        tell(json.dumps(_play(run)))


def _play(run: Run) -> Outcome:
    begun = time.monotonic() + 0.05
    watched_until, done = os.pipe()
    watcher = _forked(partial(_watch, run, begun, watched_until, done))
    ends: list[End] = []
    try:
        for wave in run["waves"]:
            now = time.monotonic() - begun
            asked = [_forked(partial(_ask, run, start, now, begun)) for start in wave]
            ends += [end() for end in asked]
    finally:
        os.close(done)
        os.close(watched_until)
    looks, damaged = watcher()
    return Outcome(ends=ends, looks=looks, damaged=damaged)


def _forked(task: Callable[[], Any]) -> Callable[[], Any]:
    """Start `task` in a child; the function waits for what it returns."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                json.dump(task(), pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)

    def result() -> Any:
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.wait()
        return json.loads(text)

    return result


def _ask(run: Run, start: Start, wave: float, begun: float) -> End:
    out, err = io.StringIO(), io.StringIO()
    time.sleep(max(0.0, begun + wave + start["at"] - time.monotonic()))
    began = time.monotonic() - begun
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = PROGRAMS[start["kind"]](run, lambda: time.time() + start["ahead"])
    at = time.monotonic() - begun
    said = out.getvalue().strip()
    return End(kind=start["kind"], code=code, out=said, err=err.getvalue(), began=began, at=at)


def _ours(run: Run, now: Callable[[], float]) -> int:
    from dbx_auth import cli
    from dbx_auth.world import World

    os.environ["HOME"] = run["home"]
    return cli.run(["token", "-p", KEY], World.terminal()._replace(now=now))


def _official(run: Run, now: Callable[[], float]) -> int:
    try:
        tell(OfficialCli(run["home"], run["host"], now).token(KEY))
    except Failed as error:
        sys.stderr.write(str(error))
        return 1
    return 0


def _reference(run: Run, now: Callable[[], float]) -> int:
    """The least that a lock can do: nothing but a lock around what the official one does, as fast as that goes."""
    with FileLock(os.path.join(run["home"], "reference.lock"), poll_interval=0.01):
        return _official(run, now)


PROGRAMS = {"ours": _ours, "official": _official, "reference": _reference}


def _watch(run: Run, begun: float, watched_until: int, done: int) -> tuple[list[Look], list[str]]:
    """Read the file again and again until the run is over: what was in it, and what could not be read."""
    os.close(done)
    path = Path(run["home"], ".databricks", "token-cache.json")
    looks: list[Look] = []
    damaged: list[str] = []
    while not select.select([watched_until], [], [], 0.001)[0]:
        text = path.read_text(encoding="utf-8")
        try:
            data = json.loads(text)
            assert data["version"] == 1
            found = (data["tokens"][KEY]["access_token"], data["tokens"][KEY]["refresh_token"])
        except (ValueError, LookupError, TypeError, AssertionError):
            damaged.append(text)
            continue
        if not looks or found != (looks[-1]["access"], looks[-1]["refresh"]):
            looks.append(Look(access=found[0], refresh=found[1], at=time.monotonic() - begun))
    return looks, damaged


# ---- in the tests


class Homes:
    """Homes with one login each, in the Databricks CLI's cache under the profile DEV."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str], oidc: OidcProvider) -> None:
        self._folder = folder
        self._capture = capture
        self._oidc = oidc
        self.machines: list[Machine] = []

    def add(self, *, left: float) -> Machine:
        """One whose access token has so many seconds left."""
        home = self._folder / f"home-{len(self.machines)}"
        home.mkdir()
        machine = Machine(home, self._capture)
        self.machines.append(machine)
        login = self._oidc.login()
        entry = cli_entry(
            login["refresh_token"], access_token=login["access_token"], expiry=format_expiry(time.time() + left)
        )
        machine.cached_login(KEY, **entry)
        machine.write(machine.config, f"[{KEY}]\nhost = {self._oidc.url}\nauth_type = databricks-cli\n")
        return machine

    def play(self, waves: Sequence[list[Wave]], *, without: str = "") -> list[Outcome]:
        """Let those programs ask in each home; how it went. `without` is code that takes a protection away."""
        runs = [
            Run(home=str(machine.home), host=self._oidc.url, waves=each)
            for machine, each in zip(self.machines, waves, strict=True)
        ]
        with ThreadPoolExecutor(CREWS) as crews:
            parts = crews.map(lambda some: self._crew(some, without), (runs[n::CREWS] for n in range(CREWS)))
        played: dict[str, Outcome] = {}
        for some, outcomes in parts:
            played |= {run["home"]: outcome for run, outcome in zip(some, outcomes, strict=True)}
        return [played[run["home"]] for run in runs]

    def _crew(self, runs: list[Run], without: str) -> tuple[list[Run], list[Outcome]]:
        program = f"{without}\nfrom hard import test_mixed; test_mixed.crew()"
        env = self.machines[0].child_env(PYTHONPATH=str(TESTS), DATABRICKS_AUTH_STORAGE="plaintext")
        argv = [sys.executable, "-c", program]
        done = subprocess.run(argv, env=env, input=json.dumps(runs), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return runs, [json.loads(line) for line in done.stdout.splitlines()]

    def sessions_alive(self) -> list[bool]:
        """Whether the refresh token that is in the file now is good."""

        def lives(machine: Machine) -> bool:
            entry = json.loads(machine.cli_cache.read_text())["tokens"][KEY]
            return self._oidc.me(entry["access_token"]) == 200 and self._oidc.renews(entry["refresh_token"])

        with ThreadPoolExecutor(8) as askers:
            return list(askers.map(lives, self.machines))


@pytest.fixture
def slow() -> Iterator[OidcProvider]:
    with OidcProvider(delay_before_ms=100, delay_after_ms=100) as provider:
        yield provider


@pytest.fixture
def very_slow() -> Iterator[OidcProvider]:
    with OidcProvider(delay_before_ms=5000) as provider:
        yield provider


@pytest.fixture
def homes(tmp_path: Path, capsys: pytest.CaptureFixture[str], slow: OidcProvider) -> Homes:
    return Homes(tmp_path, capsys, slow)


def wave(chance: random.Random, officials: int, *, ahead: float = 0) -> Wave:
    ours: Kind = "ours"
    official: Kind = "official"
    return [Start(kind=kind, at=chance.random(), ahead=ahead) for kind in [ours] * OURS + [official] * officials]


def of_the_reference(wave: Wave) -> Wave:
    """The same starts, with the reference in place of ours."""
    return [{**start, "kind": "reference"} if start["kind"] == "ours" else start for start in wave]


def once_it_has_ended(homes: Homes, waves: Sequence[Wave], without: str = "") -> list[Outcome]:
    """Runs in which the access token has ended before anybody asks."""
    for _ in waves:
        homes.add(left=-60)
    return homes.play([[wave] for wave in waves], without=without)


def through_the_day(homes: Homes, officials: int, runs: int = RUNS, without: str = "") -> list[Outcome]:
    """Runs that ask when the access token has 5 to 10 minutes left, and once more when it would have 4."""
    chance = random.Random(officials)
    waves = []
    for _ in range(runs):
        left = chance.uniform(5 * 60 + 30, 10 * 60 - 30)
        homes.add(left=left)
        waves.append([wave(chance, officials), wave(chance, officials, ahead=left - 4 * 60)])
    return homes.play(waves, without=without)


def failed_beside_a_good_token(outcome: Outcome) -> list[End]:
    """Ours that asked for a person although somebody's new token was in the file by then."""
    old = outcome["looks"][0]["refresh"]

    def was_renewed_before(end: End) -> bool:
        return any(look["refresh"] != old and look["at"] < end["at"] - 0.05 for look in outcome["looks"])

    return [end for end in outcome["ends"] if end["kind"] == "ours" and end["code"] and was_renewed_before(end)]


def spent_by_ours(outcomes: Sequence[Outcome], oidc: OidcProvider) -> list[int]:
    """How often ours sent the refresh token that each run began with."""
    senders = [oidc.senders(outcome["looks"][0]["refresh"]) for outcome in outcomes]
    return [sum(sender.startswith("dbx-auth") for sender in each) for each in senders]


@pytest.mark.parametrize("officials", [1, 3])
def test_once_the_token_has_ended_ours_spend_it_once_and_whoever_was_faster_is_followed(
    homes: Homes, slow: OidcProvider, officials: int
) -> None:
    """As many sessions live on as with the reference, whose starts are the same and take place at the same time.

    How many that are is up to the starts: a session ends where one without a lock reads while one with it is asking.
    """
    chance = random.Random(officials)
    waves = [wave(chance, officials) for _ in range(RUNS)]
    played = once_it_has_ended(homes, [one for each in waves for one in (each, of_the_reference(each))])
    outcomes, lives = played[::2], homes.sessions_alive()
    alive, alive_with_the_reference = lives[::2], lives[1::2]
    ours = spent_by_ours(outcomes, slow)
    apart = sum(not lives and not mine for lives, mine in zip(alive, ours, strict=True))
    tell(
        f"{sum(alive)} of {RUNS} sessions live on, with the reference {sum(alive_with_the_reference)}; "
        f"{apart} died among the {officials} that take no lock"
    )
    assert [outcome["damaged"] for outcome in outcomes] == [[]] * RUNS
    assert [failed_beside_a_good_token(outcome) for outcome in outcomes] == [[]] * RUNS
    assert max(ours) <= 1
    assert sum(alive) >= sum(alive_with_the_reference) - CHANCE
    for lives_on, outcome in zip(alive, outcomes, strict=True):
        assert not lives_on or {end["code"] for end in outcome["ends"] if end["kind"] == "ours"} == {0}


@pytest.mark.parametrize(
    ("without", "lives"), [("", True), (WITHOUT_THE_LAST_LOOK, False)], ids=["with the last look", "without"]
)
def test_who_was_faster_while_ours_got_ready_is_followed(
    homes: Homes, slow: OidcProvider, without: str, lives: bool
) -> None:
    both = [Start(kind="ours", at=0, ahead=0), Start(kind="official", at=0.1, ahead=0)]
    (outcome,) = once_it_has_ended(homes, [both], without=A_SLOW_DISK + without)
    assert (slow.grants()["refresh"] == 1) is lives
    assert (len({end["out"] for end in outcome["ends"]}) == 1) is lives
    assert homes.sessions_alive() == [lives]


def test_without_the_lock_ours_spend_it_more_than_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], very_slow: OidcProvider
) -> None:
    homes = Homes(tmp_path, capsys, very_slow)
    outcomes = once_it_has_ended(homes, [wave(random.Random(0), 0)], without=WITHOUT_THE_LOCK)
    assert spent_by_ours(outcomes, very_slow)[0] > 1
    assert homes.sessions_alive() == [False]


@pytest.mark.parametrize(
    ("without", "followed"), [("", True), (WITHOUT_LOOKING, False)], ids=["with a look", "without"]
)
def test_who_was_refused_follows_whoever_was_faster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], very_slow: OidcProvider, without: str, followed: bool
) -> None:
    homes = Homes(tmp_path, capsys, very_slow)
    both = [Start(kind="official", at=0, ahead=0), Start(kind="ours", at=0.5, ahead=0)]
    (outcome,) = once_it_has_ended(homes, [both], without=without)
    official, ours = outcome["ends"]
    assert very_slow.grants()["refresh"] == 2 and official["code"] == 0
    assert bool(failed_beside_a_good_token(outcome)) is not followed
    assert (ours["out"] == official["out"]) is followed


@pytest.mark.parametrize("officials", [1, 3])
def test_through_the_day_ours_are_earlier_and_every_session_lives(
    homes: Homes, slow: OidcProvider, officials: int
) -> None:
    outcomes = through_the_day(homes, officials)
    assert [outcome["damaged"] for outcome in outcomes] == [[]] * RUNS
    assert [end for outcome in outcomes for end in outcome["ends"] if end["code"]] == []
    assert (slow.grants()["refresh"], slow.grants()["errors"]) == (RUNS, [])
    assert homes.sessions_alive() == [True] * RUNS


def test_if_ours_were_no_earlier_sessions_would_die_through_the_day(homes: Homes) -> None:
    through_the_day(homes, 3, runs=8, without=NO_EARLIER)
    assert not all(homes.sessions_alive())


def test_a_file_that_is_written_where_it_stands_is_seen_torn(homes: Homes) -> None:
    """The negative control of the watcher in the tests above."""
    (outcome,) = once_it_has_ended(homes, [wave(random.Random(0), 0)], without=TEARING)
    assert outcome["damaged"]
