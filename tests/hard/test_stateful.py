"""Logins, renewals, logouts, other programs, crashes, broken files and clocks, in any order: what holds all the same.

The stores are real files, the server is one that lets a refresh token be spent once, and ends the whole login when it
sees one twice. `DBX_AUTH_TEST_EXAMPLES=10000` looks longer.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import itertools
import json
import math
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, Phase, event, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from machine import Result

from dbx_auth import cli, journal, login, share, store
from dbx_auth.errors import AuthError, InDoubt, Unreachable
from dbx_auth.refresh import Keeper
from dbx_auth.store import Grant, grant_fields
from dbx_auth.tokens import Token, format_expiry
from dbx_auth.world import Response, World, tell

EXAMPLES = int(os.environ.get("DBX_AUTH_TEST_EXAMPLES", "300"))
NOW = 1_790_000_000.0
LIFE = 3600.0

OURS = "https://ours.cloud.databricks.com"
SHARED = "https://shared.cloud.databricks.com"
HOSTS = st.sampled_from([OURS, SHARED])
STRANGER = {"type": "api", "key": "of-another-tool"}


# ---- the server ------------------------------------------------------------------------------------------------------


class Family:
    """One login at the server: the refresh token that it takes next, and the access tokens that it ever gave."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.alive = True
        self.refresh = ""
        self.access: list[str] = []


class Server:
    """Stands for `world.http`. `weather` is what becomes of the next requests to the token endpoint.

    `good`; `late` and `lost`: no answer comes, before or after it took effect; `away`: nobody was reached; `busy` and
    `broken`: 503 and 500, without effect; `overtaken`: another program's request came first; `left`: a person logs out
    while the answer is on its way.
    """

    def __init__(self) -> None:
        self.strict = True
        self.weather: deque[str] = deque()
        self.families: dict[str, Family] = {}
        self.sent: list[tuple[str, str]] = []
        self.overtake: Callable[[], object] = lambda: None
        self.leave: Callable[[str], object] = lambda refresh: None
        self.interrupted: Callable[[], object] = lambda: None
        self.is_leaving = False
        self._numbers = itertools.count(1)

    def new(self, host: str) -> Family:
        family = Family(host)
        self._rotate(family)
        return family

    def _rotate(self, family: Family) -> None:
        number = next(self._numbers)
        family.refresh = f"refresh-s3cret-{number:05}"
        family.access.append(f"access-s3cret-{number:05}")
        self.families[family.refresh] = family

    def spend(self, refresh: str) -> dict[str, Any] | None:
        """What the holder of this refresh token gets, None for one that is refused."""
        family = self.families.get(refresh)
        if family is None or not family.alive:
            return None
        if family.refresh != refresh:
            family.alive = not self.strict
            return None
        self._rotate(family)
        return {"access_token": family.access[-1], "refresh_token": family.refresh, "expires_in": LIFE}

    def __call__(self, method: str, url: str, *, form: Mapping[str, str] | None = None, **rest: Any) -> Response:
        self.interrupted()
        if method != "POST":
            return Response(url, 404, {}, b"")
        assert form is not None and urlsplit(url).path == "/oidc/v1/token" and rest["budget"] <= 30
        refresh, weather = form["refresh_token"], self.weather.popleft() if self.weather else "good"
        if weather == "away":
            self.sent.append((refresh, "away"))
            raise Unreachable("nobody there", hint="look")
        if weather in ("busy", "broken"):
            self.sent.append((refresh, weather))
            return Response(url, 503 if weather == "busy" else 500, {}, b"{}")
        if weather == "late":
            self.sent.append((refresh, "late"))
            raise InDoubt("no answer", hint="wait")
        if weather == "overtaken":
            self.overtake()
        self.sent.append((refresh, "in doubt"))  # until the answer has arrived
        answer = self.spend(refresh)
        self.interrupted()
        if weather == "left":
            self.leave(refresh)
        if weather == "lost":
            raise InDoubt("no answer", hint="wait")
        self.sent[-1] = (refresh, "spent" if answer else "refused")
        body = answer or {"error": "invalid_grant", "error_description": "Refresh token is invalid"}
        return Response(url, 200 if answer else 400, {}, json.dumps(body).encode())


# ---- how a process ends before its time ------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is no more; nothing that it would still do has any effect."""


CALLS = ("replace", "fsync", "write", "unlink", "mkdir", "open", "ftruncate", "posix_fallocate")


@contextmanager
def killed_after(count: int, server: Server) -> Iterator[None]:
    """End the process at its so-many-th step outside: a system call that changes something, or a request."""
    left = itertools.count(count, -1)

    def step() -> None:
        if server.is_leaving:  # that is another process
            return
        if next(left) <= 0:  # and all that comes after, so that nothing is cleaned up
            raise Killed

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **rest: Any) -> Any:
            step()
            return real(*args, **rest)

        return call

    with ExitStack() as patches:
        for name in CALLS:
            patches.enter_context(mock.patch.object(os, name, wrapped(getattr(os, name))))
        patches.enter_context(mock.patch.object(server, "interrupted", step))
        yield


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let the file at `path` be replaced by nobody, though there was room for it."""
    real = os.replace

    def replace(source: str, target: str) -> None:
        if str(target) == str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with mock.patch.object(os, "replace", replace):
        yield


# ---- the machine -----------------------------------------------------------------------------------------------------


def unheard(text: str) -> None:
    """What is told here is told by the verbs, too."""


class Logins(RuleBasedStateMachine):
    """`family` is who is logged in at a host, None after a logout; `doubt` says that nobody can tell what is spent."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="stateful-")).resolve()
        self.server = Server()
        self.server.overtake = self._overtake
        self.server.leave = self._leave
        self.time = NOW
        self.ahead = 0.0
        self.family: dict[str, Family | None] = {OURS: None, SHARED: None}
        self.forgotten: list[Family] = []
        self.doubt: set[str] = set()
        self.aside: set[str] = set()
        self.damaged: dict[Path, bytes] = {}
        self.good: dict[Path, bytes] = {}
        self.theirs: dict[Path, dict[str, Any]] = {}
        self.refused: dict[str, float] = {}
        self.said = Result(0, "", "")
        config = f"[SHARED]\nhost = {SHARED}\nauth_type = databricks-cli\n"
        (self.home / ".databrickscfg").write_text(config)

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    @initialize(strict=st.booleans())
    def begin(self, strict: bool) -> None:
        self.server.strict = strict
        for host in (OURS, SHARED):
            self.log_in(host)

    # ---- what there is

    @property
    def auth_json(self) -> Path:
        return self.home / ".local/share/dbx-auth/auth.json"

    @property
    def cache(self) -> Path:
        return self.home / ".databricks/token-cache.json"

    def store(self, host: str) -> Path:
        return self.auth_json if host == OURS else self.cache

    def world(self) -> World:
        return World(
            env={"DATABRICKS_AUTH_STORAGE": "plaintext"},
            home=str(self.home),
            now=lambda: self.time + self.ahead,
            monotonic=lambda: self.time,
            sleep=self._pass,
            http=self.server,
            warn=lambda text: tell(f"dbx-auth: warning: {text}"),
            note=tell,
            detail=tell,
        )

    def _pass(self, seconds: float) -> None:
        assert 0 <= seconds <= 60
        self.time += seconds

    def run(self, *argv: str) -> Result:
        """One command, and what it told."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(argv, self.world())
        self.said = Result(code, out.getvalue(), err.getvalue())
        assert "mistake of ours" not in self.said.err, (argv, self.said)
        return self.said

    def read(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
        return found

    def entry(self, host: str) -> dict[str, str] | None:
        """The two tokens that the store has for a host."""
        data = self.read(self.store(host))
        if host == OURS:
            found = next((e for e in data.values() if isinstance(e, dict) and e.get("host") == OURS), None)
            return {"access": found["access"], "refresh": found["refresh"]} if found else None
        found = data.get("tokens", {}).get("SHARED")
        return {"access": found["access_token"], "refresh": found["refresh_token"]} if found else None

    def wrote(self, path: Path) -> None:
        self.good[path] = path.read_bytes()

    # ---- a person

    @rule(host=HOSTS)
    def log_in(self, host: str) -> None:
        """As the verb does once the browser has come back."""
        path, family = self.store(host), self.server.new(host)
        grant = Grant(host, family.access[-1], family.refresh, self.time + self.ahead + LIFE)
        world = self.world()._replace(warn=unheard, note=unheard, detail=unheard)
        try:
            if host == OURS:
                token = Token(grant.access, grant.expires_at, "databricks-cli", "this login", host)
                login.save(login.Key(grant_fields(grant), token, grant), world)
            else:
                share.share("SHARED", {"host": host}, grant, world)
        except AuthError as error:
            assert path in self.damaged and error.exit_code == 5
            return
        assert path not in self.damaged
        self._forget(host)
        self.family[host] = family
        self.theirs.setdefault(path, {})

    @rule(host=HOSTS)
    def log_out(self, host: str) -> None:
        others = self.home.joinpath(".databrickscfg").read_bytes()
        result = self.run("logout", *(["-p", "SHARED", "--share"] if host == SHARED else ["--host", host]))
        assert self.home.joinpath(".databrickscfg").read_bytes() == others
        if self.store(host) in self.damaged or result.code:
            assert self.damaged and result.code in (0, 5), result
            if self.store(host) in self.damaged or self.entry(host):
                return
        self._forget(host)

    def _forget(self, host: str) -> None:
        if before := self.family[host]:
            self.forgotten.append(before)
        self.family[host] = None
        self.doubt.discard(host)
        self.aside.discard(host)

    # ---- programs

    @rule(host=HOSTS, options=st.sampled_from([[], [], ["--force-refresh"], ["--min-ttl", "30m"], ["-o", "json"]]))
    def token(self, host: str, options: list[str]) -> None:
        """A program wants a token."""
        self._token(host, options)

    @rule(host=HOSTS)
    def token_without_a_renewal(self, host: str) -> None:
        before = len(self.server.sent)
        self.run("token", "--host", host, "--no-refresh")
        assert len(self.server.sent) == before

    def _token(self, host: str, options: list[str]) -> None:
        family, path = self.family[host], self.store(host)
        is_calm = not self.server.weather
        before, sent = self.entry(host) if path not in self.damaged else None, len(self.server.sent)
        is_kept = host in self.aside or bool(family and before and before["refresh"] == family.refresh)
        alive = bool(family and family.alive and is_kept)
        result = self.run("token", "--host", host, *options)
        self._check_sent(sent, host)
        printed = ""
        if result.code == 0:
            printed = json.loads(result.out)["access_token"] if "json" in options else result.out.strip()
        if path in self.damaged or family is None:
            assert result.code == (5 if self.damaged else 4), result
            return
        if printed:
            assert printed in family.access, "a token of nobody, or of a login before"
        if is_calm and alive and host not in self.doubt:
            assert result.code == 0, ("a login that is alive", result)
            after = self.entry(host)
            is_newest = bool(after and after["refresh"] == family.refresh)
            assert is_newest or (host in self.aside and after == before), "the newest wins"
            assert len(self.server.sent) - sent <= 1
            if is_newest:
                self.aside.discard(host)
        if is_calm:
            assert result.code in (0, 4) or self.damaged, result
        if result.code == 0 and family.alive and host not in self.aside:
            after = self.entry(host)
            if after and after["refresh"] == family.refresh:
                self.doubt.discard(host)
        event(f"token: exit {result.code}")

    def _check_sent(self, since: int, host: str) -> None:
        """What one command sent to the server, and what the whole time has."""
        new = self.server.sent[since:]
        assert len([each for each in new if each[1] not in ("away", "busy")]) <= 2, new
        assert len(new) <= 8, new
        if any(outcome in ("in doubt", "late", "broken") for _, outcome in new):
            self.doubt.add(host)
        for refresh in {each for each, _ in new}:
            outcomes = [outcome for sent, outcome in self.server.sent if sent == refresh]
            assert "spent" not in outcomes[:-1], f"sent again after it was spent: {outcomes}"
            if outcomes[-1] == "refused":
                moment = self.time + self.ahead
                before = self.refused.get(refresh, -math.inf)
                assert abs(moment - before) >= 86_400, f"sent again after it was refused: {outcomes}"
                self.refused[refresh] = moment

    @rule(host=HOSTS, count=st.integers(1, 70), force=st.booleans())
    def token_of_a_process_that_is_killed(self, host: str, count: int, force: bool) -> None:
        sent = len(self.server.sent)
        try:
            with killed_after(count, self.server):
                self._token(host, ["--force-refresh"] if force else [])
            return
        except Killed:
            event("killed")
        gc.collect()  # what a process holds goes with it
        new = self.server.sent[sent:]
        if new:
            # Whatever it was told, nobody knows that it was.
            self.server.sent[sent:] = [(r, "in doubt" if o in ("spent", "refused") else o) for r, o in new]
            self.doubt.add(host)
        if self.family[host] and self.store(host) not in self.damaged:
            assert self.entry(host), "a login that was there is not there any more"

    @rule(host=HOSTS)
    def token_on_a_disk_that_is_full_at_last(self, host: str) -> None:
        """There was room when it was reserved, and it is gone when the answer is there."""
        family, path = self.family[host], self.store(host)
        before = path.read_bytes() if path.exists() else b""
        while "left" in self.server.weather:  # nobody can log out there either
            self.server.weather.remove("left")
        sent, is_calm = len(self.server.sent), not self.server.weather
        with full_disk(path):
            self._token_aside(host)
        assert not is_calm or (path.read_bytes() if path.exists() else b"") == before
        spent = [refresh for refresh, outcome in self.server.sent[sent:] if outcome == "spent"]
        if spent and family:
            self.aside.add(host)
            event("rescued")

    def _token_aside(self, host: str) -> None:
        family, sent = self.family[host], len(self.server.sent)
        result = self.run("token", "--host", host, "--force-refresh")
        self._check_sent(sent, host)
        if any(outcome == "spent" for _, outcome in self.server.sent[sent:]):
            assert result.code == 0 and family and result.out.strip() == family.access[-1], result
            assert "warning" in result.err

    # ---- other programs

    @precondition(lambda self: self.cache not in self.damaged and self.family[SHARED])
    @rule()
    def the_cli_renews(self) -> None:
        """The Databricks CLI takes no lock, and writes the whole file, under the profile and under the host."""
        data = self.read(self.cache)
        held = data["tokens"]["SHARED"]
        answer = self.server.spend(held["refresh_token"])
        if answer is None:
            return
        ends = format_expiry(self.time + self.ahead + LIFE)
        for key in ("SHARED", SHARED):
            fresh = {"access_token": answer["access_token"], "refresh_token": answer["refresh_token"], "expiry": ends}
            data["tokens"].setdefault(key, {}).update(fresh)
        self._put(self.cache, data)
        self.aside.discard(SHARED)

    def _overtake(self) -> None:
        """The same, in the middle of our own request."""
        if self.cache not in self.damaged and self.family[SHARED]:
            self.the_cli_renews()
            self.doubt.add(SHARED)

    def _leave(self, refresh: str) -> None:
        """A person logs out in the middle of our own request. The CLI's store is locked then, and they would wait."""
        if self.server.families[refresh].host != OURS:
            return
        self.server.is_leaving = True
        self.log_out(OURS)
        self.server.is_leaving = False

    @rule(path=st.sampled_from(["auth_json", "cache"]), value=st.integers() | st.text(max_size=5) | st.none())
    def somebody_adds_something(self, path: str, value: object) -> None:
        """Another tool, or a version to come, keeps its own in our file."""
        file: Path = getattr(self, path)
        if file in self.damaged or not self.read(file):
            return
        data = self.read(file)
        if file == self.cache:
            data["future"] = value
            data["tokens"]["https://another.cloud.databricks.com"] = {"access_token": "another", "x": value}
            for entry in data["tokens"].values():
                entry["theirs"] = value
        else:
            data["github"] = {**STRANGER, "x": value}
            for entry in data.values():
                entry["theirs"] = value
        self.theirs[file] = {"value": value}
        self._put(file, data)

    def _put(self, path: Path, data: Mapping[str, Any]) -> None:
        new = path.with_name("written-by-somebody-else")
        new.write_text(json.dumps(data))
        new.rename(path)

    @rule(
        path=st.sampled_from(["auth_json", "cache"]), how=st.sampled_from(["half", "empty", "list", "bytes", "version"])
    )
    def a_file_is_damaged(self, path: str, how: str) -> None:
        file: Path = getattr(self, path)
        if file in self.damaged or not file.exists() or (how == "version" and path == "auth_json"):
            return
        content = self.good[file] = file.read_bytes()
        self.damaged[file] = {
            "half": content[: len(content) // 2],
            "empty": b"",
            "list": b"[" + content + b"]",
            "bytes": b"\xff\xfe" + content,
            "version": content.replace(b'"version": 1', b'"version": 2'),
        }[how]
        file.write_bytes(self.damaged[file])

    @precondition(lambda self: self.damaged)
    @rule()
    def a_person_mends_it(self) -> None:
        for file in self.damaged:
            file.write_bytes(self.good[file])
        self.damaged.clear()

    # ---- the world

    @rule(seconds=st.sampled_from([1, 15, 400, 1800, 3400, 3700, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.time += seconds

    @rule(seconds=st.sampled_from([-86_400, -3600, -20, 20, 3600, 86_400]))
    def the_clock_jumps(self, seconds: int) -> None:
        self.ahead += seconds

    @rule(
        weather=st.lists(
            st.sampled_from(["late", "lost", "away", "busy", "broken", "overtaken", "left"]), min_size=1, max_size=3
        )
    )
    def the_network_is_bad(self, weather: list[str]) -> None:
        self.server.weather.extend(weather)

    @rule()
    def the_network_is_good(self) -> None:
        self.server.weather.clear()

    # ---- what always holds

    @invariant()
    def a_damaged_file_is_as_it_was(self) -> None:
        for path, content in self.damaged.items():
            assert path.read_bytes() == content

    @invariant()
    def what_is_not_ours_survives(self) -> None:
        for path, said in self.theirs.items():
            if path in self.damaged or not said:
                continue
            data = self.read(path)
            if path == self.cache:
                assert data["future"] == said["value"]
                assert data["tokens"]["https://another.cloud.databricks.com"]["access_token"] == "another"
            else:
                assert data["github"] == {**STRANGER, "x": said["value"], "theirs": said["value"]}

    @invariant()
    def nothing_that_is_told_is_a_secret(self) -> None:
        assert "s3cret" not in self.said.err
        for path in self.home.rglob("*"):
            if path.suffix in (".json", ".lock") and path.parent.name in (".dbx-auth", "refresh"):
                assert b"s3cret" not in path.read_bytes(), path

    @invariant()
    def who_has_logged_out_stays_out(self) -> None:
        gone = {family.refresh for family in self.forgotten} | {family.access[-1] for family in self.forgotten}
        for host in (OURS, SHARED):
            if self.store(host) not in self.damaged:
                found = self.entry(host)
                assert bool(found) == bool(self.family[host])
                assert not found or not gone & set(found.values())

    @invariant()
    def nothing_is_left_of_a_login_that_is_over(self) -> None:
        """But what a killed process has left, which the next writer takes away once it is an hour old."""
        gone = [family.refresh.encode() for family in self.forgotten]
        for path in self.home.rglob("*"):
            if path.is_file() and path.suffix != ".tmp" and path not in self.damaged:
                data = path.read_bytes()
                assert not [refresh for refresh in gone if refresh in data], path

    @invariant()
    def both_names_of_a_login_say_the_same(self) -> None:
        if self.cache not in self.damaged and self.family[SHARED]:
            tokens = self.read(self.cache)["tokens"]
            assert tokens["SHARED"]["refresh_token"] == tokens[SHARED]["refresh_token"]

    @invariant()
    def nobody_is_in_the_way_of_anybody(self) -> None:
        """A lock is free as soon as its holder has ended, however that was."""
        import fcntl

        for path in self.home.rglob("*.lock"):
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


TestLogins = Logins.TestCase
TestLogins.settings = settings(
    max_examples=max(30, EXAMPLES // 3),
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


# ---- and it finds what there is to find ------------------------------------------------------------------------------


def careless_read(self: store.JsonFile) -> dict[str, Any]:
    """What some do with a file that they cannot understand: take it for an empty one."""
    try:
        return _read(self)
    except AuthError:
        return {}


def forgetful_write(self: store.JsonFile, value: Mapping[str, Any], room: Any = None) -> None:
    """What a program does that keeps only what it knows."""
    known = {key: entry for key, entry in value.items() if key in ("version", "tokens") or key.startswith("databricks")}
    _write(self, known, room)


def write_of_one_name(self: store.CliSlot, spent: Grant, fresh: Grant, room: Any = None) -> None:
    with self._file.locked():
        data = self._file.read()
        data["tokens"][self._key].update(store.cli_fields(fresh))
        self._file.write(data, room)


def write_come_what_may(self: store.OwnSlot, spent: Grant, fresh: Grant, room: Any = None) -> None:
    self._file.login(grant_fields(fresh))


_read, _write = store.JsonFile.read, store.JsonFile.write

PROTECTIONS: dict[str, tuple[object, str, object]] = {
    "a damaged file is left alone": (store.JsonFile, "read", careless_read),
    "unknown keys are kept": (store.JsonFile, "write", forgetful_write),
    "both names of a login are renewed": (store.CliSlot, "write", write_of_one_name),
    "a refused refresh token is remembered": (journal.Journal, "is_dead", lambda self, refresh: False),
    "what could not be written is kept aside": (journal.Journal, "rescued", lambda self, stored: None),
    "what is refused is looked at again": (Keeper, "_winner", lambda self, slot, stored: None),
    "a secret is told as a hash": (journal, "fingerprint", str),
}


def leave_while_the_answer_is_on_its_way() -> None:
    logins = Logins()
    try:
        with mock.patch(f"{__name__}.event"):  # is for hypothesis, which is not there
            logins.begin(strict=True)
            logins.the_network_is_bad(weather=["left"])
            logins.token(host=OURS, options=["--force-refresh"])
            assert logins.family[OURS] is None
            logins.who_has_logged_out_stays_out()
    finally:
        logins.teardown()


def test_who_has_logged_out_is_not_written_back() -> None:
    """Chance takes minutes to come by here, so the way is shown."""
    leave_while_the_answer_is_on_its_way()
    with mock.patch.object(store.OwnSlot, "write", write_come_what_may), pytest.raises(AssertionError):
        leave_while_the_answer_is_on_its_way()


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_without_a_protection_something_is_found(protection: str) -> None:
    """The negative control of the machine."""
    place, name, instead = PROTECTIONS[protection]
    quick = settings(
        max_examples=1000,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with mock.patch.object(place, name, instead), pytest.raises((AssertionError, KeyError, LookupError, ValueError)):
        run_state_machine_as_test(Logins, settings=quick)
