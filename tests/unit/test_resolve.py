"""The one road every token takes: who is asked, who stops it, and how often anybody renews."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from machine import HOST, OTHER, Machine
from unit.far_side import FarSide, MemorySlot, never

from dbx_auth import profile as profiles, resolve, sources
from dbx_auth.errors import (
    Attempt,
    AuthError,
    ConfigError,
    LoginRequired,
    NotConfigured,
    Refused,
    Temporary,
    Unavailable,
    UsageError,
)
from dbx_auth.profile import Profile, Setting
from dbx_auth.resolve import Demand, Keeper
from dbx_auth.store import AuthJson, Grant, OwnSlot, Slot, grant_fields
from dbx_auth.tokens import AIM, FLOOR, Token
from dbx_auth.world import World

NOW = 1_700_000_000.0


def a_profile(**values: str) -> Profile:
    return Profile("", {name: Setting(name, value, "env X") for name, value in values.items()})


def a_world(**parts: Any) -> World:
    return World(env={}, home="/nowhere", now=lambda: NOW, http=never)._replace(**parts)


# ---- the chain -------------------------------------------------------------------------------------------------------


class Says(NamedTuple):
    """A source that says one thing."""

    outcome: str | AuthError | Unavailable
    ambient: bool = False
    needs: tuple[str, ...] = ()

    def fetch(self, profile: Profile, world: World, keeper: object) -> Token:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Token(self.outcome, None, "some", f"the origin of {self.outcome}", HOST)


ABSENT = Says(Unavailable("not set: x"))
CACHED_BROKEN = Says(Refused("the cache is odd", hint="look"), ambient=True)
WRITTEN_BROKEN = Says(Refused("wrong secret", hint="check it"))
WORKS = Says("tok")


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put these in the place of the sources, under the names one, two, three …"""

    def put(*says: Says) -> None:
        named = dict(zip(("one", "two", "three", "four"), says, strict=False))
        monkeypatch.setattr(sources, "ORDER", tuple(named))
        monkeypatch.setattr(sources, "load", named.__getitem__)

    return put


@pytest.mark.parametrize(
    ("says", "outcomes"),
    [
        ([WORKS], ["used"]),
        ([ABSENT, WORKS], ["unavailable", "used"]),
        ([WORKS, WRITTEN_BROKEN, CACHED_BROKEN], ["used", "not asked", "not asked"]),
        ([CACHED_BROKEN, WORKS, WORKS], ["failed", "used", "not asked"]),
        ([ABSENT, CACHED_BROKEN, ABSENT, WORKS], ["unavailable", "failed", "unavailable", "used"]),
    ],
)
def test_the_first_source_that_can_answers(chain: Callable[..., None], says: list[Says], outcomes: list[str]) -> None:
    chain(*says)
    resolution = resolve.resolve(a_profile(), a_world())
    assert resolution.token and resolution.token.value == "tok" and resolution.error is None
    assert [a.outcome for a in resolution.attempts] == outcomes
    assert [a.auth_type for a in resolution.attempts] == list(sources.ORDER)
    used = resolution.attempts[outcomes.index("used")]
    assert used.reason == "the origin of tok"


def test_each_attempt_tells_its_reason(chain: Callable[..., None]) -> None:
    chain(ABSENT, CACHED_BROKEN, WORKS, WORKS)
    assert resolve.resolve(a_profile(), a_world()).attempts == (
        Attempt("one", "unavailable", "not set: x"),
        Attempt("two", "failed", "the cache is odd"),
        Attempt("three", "used", "the origin of tok"),
        Attempt("four", "not asked", "a source before it answered"),
    )


@pytest.mark.parametrize("error", [Refused("no", hint="h"), ConfigError("no", hint="h"), Temporary("no", hint="h")])
def test_what_a_person_wrote_and_is_wrong_ends_the_chain(chain: Callable[..., None], error: AuthError) -> None:
    """Silently becoming somebody else is worse."""
    chain(ABSENT, Says(error), WORKS)
    resolution = resolve.resolve(a_profile(), a_world())
    assert (resolution.token, resolution.error) == (None, error)
    assert [a.outcome for a in resolution.attempts] == ["unavailable", "failed", "not asked"]
    with pytest.raises(type(error)) as caught:
        resolve.token(a_profile(), a_world())
    assert caught.value is error


def test_settings_that_are_missing_are_named_before_the_source_is_asked(chain: Callable[..., None]) -> None:
    chain(Says(AssertionError(), needs=("host", "token")), WORKS)  # type: ignore[arg-type]
    first = resolve.resolve(a_profile(host=HOST), a_world()).attempts[0]
    assert first == Attempt("one", "unavailable", "not set: token (DATABRICKS_TOKEN)")


@pytest.mark.parametrize("named", ["one", "two", "three"])
def test_an_auth_type_asks_that_source_and_no_other(chain: Callable[..., None], named: str) -> None:
    chain(Says("tok-one"), Says("tok-two"), Says("tok-three"))
    resolution = resolve.resolve(a_profile(auth_type=named), a_world())
    assert resolution.token and resolution.token.value == f"tok-{named}"
    assert [a.auth_type for a in resolution.attempts] == [named]


def test_an_auth_type_that_cannot_answer_is_not_replaced_by_another(chain: Callable[..., None]) -> None:
    chain(ABSENT, WORKS)
    with pytest.raises(NotConfigured) as caught:
        resolve.token(a_profile(auth_type="one", host=HOST), a_world())
    assert str(caught.value) == f"no token for {HOST}: one: not set: x"


@pytest.mark.parametrize("name", ["azure-something", "PAT", "pat ", "..", "resolve", "pat, stored", "__init__"])
def test_an_auth_type_that_does_not_exist_is_refused_and_the_real_ones_named(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve.resolve(a_profile(auth_type=name), a_world())
    assert repr(name) in str(caught.value) and ", ".join(sources.ORDER) in str(caught.value)


LOGIN = LoginRequired("r is spent", hint="dbx-auth login X")


@pytest.mark.parametrize(
    ("errors", "kind", "hint"),
    [
        ([], NotConfigured, f"dbx-auth login {HOST}"),
        ([LOGIN], NotConfigured, "dbx-auth login X"),
        ([Refused("no", hint="r")], Refused, "r"),
        ([LOGIN, Refused("no", hint="r")], Refused, "r"),
        ([Refused("no", hint="r"), ConfigError("bad", hint="c")], ConfigError, "c"),
        ([ConfigError("bad", hint="c"), ConfigError("worse", hint="d")], ConfigError, "c"),
        ([LOGIN, ConfigError("bad", hint="c"), Temporary("busy", hint="t")], Temporary, "t"),
        ([Temporary("busy", hint="t"), Refused("no", hint="r")], Temporary, "t"),
    ],
)
def test_at_the_end_what_may_pass_comes_before_what_must_be_mended_and_the_login_last(
    chain: Callable[..., None], errors: list[AuthError], kind: type[AuthError], hint: str
) -> None:
    chain(ABSENT, *(Says(error, ambient=True) for error in errors))
    with pytest.raises(kind) as caught:
        resolve.token(a_profile(host=HOST), a_world())
    assert type(caught.value) is kind and caught.value.hint == hint
    assert caught.value.exit_code == kind.exit_code
    for error in errors:
        assert str(error) in str(caught.value)


def test_the_end_of_the_chain_tells_the_whole_tale(chain: Callable[..., None]) -> None:
    chain(ABSENT, CACHED_BROKEN, ABSENT, Says(LOGIN, ambient=True))
    with pytest.raises(Refused) as caught:
        resolve.token(a_profile(host=HOST), a_world())
    assert str(caught.value) == (f"no token for {HOST}: two: the cache is odd; four: r is spent")


def test_without_a_host_the_tale_names_none(chain: Callable[..., None]) -> None:
    chain(ABSENT, ABSENT)
    with pytest.raises(NotConfigured) as caught:
        resolve.token(a_profile(), a_world())
    assert (str(caught.value), caught.value.hint) == ("no token: none of the 2 sources is set up", "dbx-auth login")
    assert [a.outcome for a in caught.value.attempts] == ["unavailable"] * 2


@pytest.mark.parametrize("value", ["", "two words", "tab\there", "line\n", "\r", "caf\u00e9", "esc\x1b[0m", "\ud800"])
def test_a_token_that_no_header_can_carry_is_not_handed_out(chain: Callable[..., None], value: str) -> None:
    chain(Says(value))
    with pytest.raises(ConfigError) as caught:
        resolve.token(a_profile(), a_world())
    assert "the origin of" in str(caught.value) and caught.value.hint


def test_what_is_tried_is_noted(chain: Callable[..., None]) -> None:
    notes: list[str] = []
    chain(ABSENT, CACHED_BROKEN, WORKS)
    resolve.resolve(a_profile(), a_world(note=notes.append))
    assert notes == ["one: unavailable: not set: x", "two: failed: the cache is odd", "three: used: the origin of tok"]


@pytest.mark.parametrize(("ttl", "code"), [(None, 0), (100, 0), (100.5, 1), (3600, 1)])
def test_a_demand_for_life_is_kept_or_refused(
    chain: Callable[..., None], monkeypatch: pytest.MonkeyPatch, ttl: float | None, code: int
) -> None:
    ends_in_100 = SimpleNamespace(
        needs=(), ambient=False, fetch=lambda *_: Token("tok", NOW + 100, "some", "somewhere", HOST)
    )
    monkeypatch.setattr(sources, "ORDER", ("one",))
    monkeypatch.setattr(sources, "load", lambda name: ends_in_100)
    resolution = resolve.resolve(a_profile(), a_world(), Demand(min_ttl=ttl))
    if code:
        assert isinstance(resolution.error, Refused) and "lives 100 s" in str(resolution.error)
    else:
        assert resolution.token


def test_printing_a_demand_by_accident_shows_no_token() -> None:
    assert "secret" not in repr(Demand(rejected="at-secret"))


# ---- the keeper ------------------------------------------------------------------------------------------------------


def grant(access: str = "old", life: float | None = 3600, refresh: str = "r") -> Grant:
    return Grant(HOST, access, refresh, None if life is None else NOW + life)


class Renewal:
    """Stands for `oauth.refresh`: gives new-1, new-2 …, or fails, and counts."""

    def __init__(self, failure: AuthError | None = None) -> None:
        self.failure = failure
        self.spent: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, held: Grant, world: World) -> Grant:
        with self._lock:
            self.spent.append(held.refresh)
            number = len(self.spent)
        if self.failure:
            raise self.failure
        return Grant(held.host, f"new-{number}", f"r-{number}", world.now() + 3600)


BUSY = Temporary("the server is busy", hint="try again")
GONE = LoginRequired("invalid_grant", hint="dbx-auth login")
FULL = ConfigError("no space left", hint="make room")


def keep(
    *slots: Slot,
    renew: Renewal | None = None,
    demand: Demand | None = None,
    **parts: Any,
) -> Token:
    return Keeper("databricks-cli", a_world(**parts), demand or Demand()).fresh(
        slots, renew or Renewal(AuthError("nobody may renew", hint=""))
    )


@pytest.mark.parametrize("life", [AIM, AIM + 1, 3600, None])
def test_a_fresh_token_takes_no_lock_no_network_and_no_write(life: float | None) -> None:
    slot = MemorySlot(grant(life=life))
    found = keep(slot)
    assert (found.value, found.origin, found.host) == ("old", "memory", HOST)
    assert (found.auth_type, found.refreshable) == ("databricks-cli", True)
    assert found.expires_at == (None if life is None else NOW + life)
    assert slot.done == ["read"]


@pytest.mark.parametrize("life", [AIM - 0.01, FLOOR, 0, -1e9])
def test_a_stale_token_is_renewed_once_under_the_lock_and_written_back(life: float) -> None:
    slot, renew = MemorySlot(grant(life=life)), Renewal()
    found = keep(slot, renew=renew)
    assert (found.value, found.expires_at) == ("new-1", NOW + 3600)
    assert slot.done == ["read", "lock", "read", "write", "unlock"]
    assert renew.spent == ["r"]
    assert slot.grant and slot.grant.refresh == "r-1"


@pytest.mark.parametrize("demand", [Demand(), Demand(force=True), Demand(rejected="old"), Demand(min_ttl=1800)])
def test_what_another_process_renewed_meanwhile_is_adopted(demand: Demand) -> None:
    other = grant("theirs", 3600, "r-theirs")
    slot = MemorySlot(grant(life=10), meanwhile=lambda s: setattr(s, "grant", other))
    renew = Renewal()
    assert keep(slot, renew=renew, demand=demand).value == "theirs"
    assert renew.spent == [] and "write" not in slot.done


@pytest.mark.parametrize(
    ("other", "demand"),
    [
        (grant("theirs", 60, "r-theirs"), Demand()),
        (grant("theirs", 3600, "r-theirs"), Demand(rejected="theirs")),
        (grant("theirs", 900, "r-theirs"), Demand(min_ttl=1800)),
        (grant("", 3600, "r-theirs"), Demand()),
    ],
)
def test_only_the_refresh_token_read_under_the_lock_is_spent(other: Grant, demand: Demand) -> None:
    slot = MemorySlot(grant(life=10), meanwhile=lambda s: setattr(s, "grant", other))
    renew = Renewal()
    assert keep(slot, renew=renew, demand=demand).value == "new-1"
    assert renew.spent == ["r-theirs"] and slot.grant and slot.grant.refresh == "r-1"


def test_a_login_that_lost_its_refresh_token_meanwhile_is_not_renewed() -> None:
    """An empty refresh token is no question to ask a server, and no name to find twins by."""
    slot = MemorySlot(grant(life=10), meanwhile=lambda s: setattr(s, "grant", grant("theirs", 10, "")))
    renew = Renewal()
    with pytest.raises(LoginRequired):
        keep(slot, renew=renew)
    assert renew.spent == [] and "write" not in slot.done


def test_a_login_that_was_ended_meanwhile_is_not_brought_back() -> None:
    slot = MemorySlot(grant(life=10), meanwhile=lambda s: setattr(s, "grant", None))
    renew = Renewal()
    with pytest.raises(Unavailable, match="memory"):
        keep(slot, renew=renew)
    assert renew.spent == [] and slot.grant is None


def test_a_logout_during_the_refresh_wins(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": grant_fields(grant(life=-1e9))})
    file = AuthJson(machine.world)

    def renew(held: Grant, world: World) -> Grant:
        machine.write(machine.auth_json, {})
        return Grant(HOST, "new", "r-new", None)

    Keeper("databricks-cli", machine.world, Demand()).fresh([OwnSlot(file, Grant(HOST))], renew)
    assert file.read() == {}


def test_force_renews_a_fresh_token() -> None:
    slot, renew = MemorySlot(grant()), Renewal()
    assert keep(slot, renew=renew, demand=Demand(force=True)).value == "new-1"
    assert renew.spent == ["r"]


@pytest.mark.parametrize(
    ("min_ttl", "life", "renewed"),
    [
        (None, AIM, False),
        (None, AIM - 1, True),
        (900, 900, False),
        (900, 899, True),
        (60, 61, False),
        (60, 59, True),
        (0, FLOOR, False),
        (0, FLOOR - 1, True),
        (10, 20, True),
    ],
)
def test_min_ttl_is_another_aim_and_never_below_what_the_server_takes(
    min_ttl: float | None, life: float, renewed: bool
) -> None:
    renew = Renewal()
    found = keep(MemorySlot(grant(life=life)), renew=renew, demand=Demand(min_ttl=min_ttl))
    assert (found.value, len(renew.spent)) == (("new-1", 1) if renewed else ("old", 0))


@pytest.mark.parametrize("failure", [BUSY, GONE, Refused("no", hint="h")])
@pytest.mark.parametrize(("life", "served"), [(299, True), (FLOOR + 0.1, True), (FLOOR, False), (0, False)])
def test_when_renewing_fails_a_token_with_more_than_40_s_left_is_served_with_a_warning(
    failure: AuthError, life: float, served: bool
) -> None:
    warnings: list[str] = []
    slot = MemorySlot(grant(life=life))
    if served:
        assert keep(slot, renew=Renewal(failure), warn=warnings.append).value == "old"
        assert warnings == [f"the token was not renewed and ends in {life:.0f} s: {failure}"]
    else:
        with pytest.raises(type(failure)) as caught:
            keep(slot, renew=Renewal(failure), warn=warnings.append)
        assert caught.value is failure and not warnings
    assert "write" not in slot.done and slot.grant == grant(life=life)


@pytest.mark.parametrize(
    ("demand", "life"),
    [
        (Demand(force=True), 3600),
        (Demand(force=True), 50),
        (Demand(force=True, min_ttl=1), 200),
        (Demand(min_ttl=60), 50),
        (Demand(min_ttl=3600), 1800),
        (Demand(rejected="old"), 3600),
    ],
)
def test_what_was_asked_for_and_cannot_be_had_is_an_error(demand: Demand, life: float) -> None:
    with pytest.raises(Temporary):
        keep(MemorySlot(grant(life=life)), renew=Renewal(BUSY), demand=demand)


@pytest.mark.parametrize("life", [None, 3600, 200])
def test_a_token_that_a_server_refused_is_never_handed_out_again(life: float | None) -> None:
    demand = Demand(rejected="old")
    assert keep(MemorySlot(grant(life=life)), renew=Renewal(), demand=demand).value == "new-1"
    with pytest.raises(Temporary):
        keep(MemorySlot(grant(life=life)), renew=Renewal(BUSY), demand=demand)
    with pytest.raises(LoginRequired):
        keep(MemorySlot(grant(life=life, refresh="")), renew=Renewal(), demand=demand)


def test_a_lock_that_is_never_free_is_no_reason_to_refuse_a_token_that_still_serves() -> None:
    stuck = Temporary("held for 60 s", hint="try again")
    renew, warnings = Renewal(), list[str]()
    assert keep(MemorySlot(grant(life=100), stuck=stuck), renew=renew, warn=warnings.append).value == "old"
    assert len(warnings) == 1 and "held for 60 s" in warnings[0]
    with pytest.raises(Temporary):
        keep(MemorySlot(grant(life=10), stuck=stuck), renew=renew)
    assert renew.spent == [], "nobody renews without the lock"


@pytest.mark.parametrize("access", ["", "old"])
def test_without_a_refresh_token_a_person_must_log_in(access: str) -> None:
    slot = MemorySlot(grant(access, life=10, refresh=""))
    with pytest.raises(LoginRequired, match="memory has ended and has no refresh token"):
        keep(slot, renew=Renewal())
    assert "lock" not in slot.done


def test_without_a_refresh_token_what_is_left_is_served() -> None:
    warnings: list[str] = []
    found = keep(MemorySlot(grant(life=100, refresh="")), renew=Renewal(), warn=warnings.append)
    assert (found.value, found.refreshable) == ("old", False) and len(warnings) == 1


def test_an_empty_access_token_is_renewed_whatever_its_expiry_says() -> None:
    assert keep(MemorySlot(grant("", None)), renew=Renewal()).value == "new-1"


@pytest.mark.parametrize(
    "first",
    [
        MemorySlot(None),
        MemorySlot(grant(), broken=ConfigError("odd", hint="h")),
        MemorySlot(grant(life=10, refresh="")),
        MemorySlot(grant(life=10), stuck=Temporary("held", hint="h")),
    ],
)
def test_when_the_first_place_has_nothing_the_second_is_asked(first: MemorySlot) -> None:
    second = MemorySlot(grant("second"), "elsewhere")
    found = keep(first, second, renew=Renewal())
    assert (found.value, found.origin) == ("second", "elsewhere")


def test_the_second_place_is_not_even_looked_at_when_the_first_has_a_token() -> None:
    second = MemorySlot(grant("second"))
    keep(MemorySlot(grant()), second)
    assert second.done == []


def test_when_all_places_are_empty_they_are_named() -> None:
    with pytest.raises(Unavailable, match=re.escape("no login in here, there")):
        keep(MemorySlot(None, "here"), MemorySlot(None, "there"))


def test_when_all_places_fail_the_first_failure_is_told_and_the_others_noted() -> None:
    notes: list[str] = []
    slots = [
        MemorySlot(None, "a"),
        MemorySlot(grant(), "b", broken=ConfigError("first", hint="h")),
        MemorySlot(grant(life=1, refresh=""), "c"),
    ]
    with pytest.raises(ConfigError, match="first"):
        keep(*slots, note=notes.append)
    assert notes[0] == "b: first" and notes[1].startswith("c: ")


def test_what_fails_after_the_first_place_does_not_hide_why_that_one_failed() -> None:
    def slots() -> Iterator[Slot]:
        yield MemorySlot(grant(), broken=Temporary("the first failure", hint="h"))
        raise ConfigError("two profiles log in to this host", hint="h")

    with pytest.raises(Temporary, match="the first failure"):
        Keeper("databricks-cli", a_world(), Demand()).fresh(slots(), Renewal())


# ---- nothing is lost -------------------------------------------------------------------------------------------------


def test_a_refresh_that_another_program_won_is_no_error() -> None:
    """The Databricks CLI takes no lock: it may spend the refresh token while we are on our way with it."""
    slot = MemorySlot(grant(life=-10))

    def renew(held: Grant, world: World) -> Grant:
        slot.grant = grant("theirs", 3600, "r-theirs")
        raise GONE

    found = Keeper("databricks-cli", a_world(), Demand()).fresh([slot], renew)
    assert found.value == "theirs"


def test_a_token_that_was_renewed_and_could_not_be_kept_is_handed_out_with_a_warning() -> None:
    """The old refresh token is spent: whoever throws the new token away has nothing at all."""
    warnings: list[str] = []
    found = keep(MemorySlot(grant(life=-10), full=FULL), renew=Renewal(), warn=warnings.append)
    assert found.value == "new-1" and "no space left" in warnings[0]


@pytest.mark.parametrize(
    ("call", "number"), [("fsync", errno.ENOSPC), ("fsync", errno.EIO), ("open", errno.EROFS), ("open", errno.EACCES)]
)
def test_where_nothing_can_be_written_no_refresh_token_is_spent(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """On a full disk the answer would be lost, and with a rotating server the login."""
    machine.write(machine.auth_json, {"databricks": grant_fields(grant(life=-1e9))})
    with AuthJson(machine.world).locked():
        pass
    before, real_open = machine.files(), os.open

    def fail(*args: object, **rest: object) -> None:
        raise OSError(number, os.strerror(number))

    def open_(path: Any, flags: int, *args: Any, **rest: Any) -> int:
        if flags & os.O_CREAT and not str(path).endswith(".lock"):
            fail()
        return real_open(path, flags, *args, **rest)

    monkeypatch.setattr(os, call, fail if call == "fsync" else open_)
    renew = Renewal()
    with pytest.raises(ConfigError, match=os.strerror(number)):
        Keeper("databricks-cli", machine.world, Demand()).fresh([OwnSlot(AuthJson(machine.world), Grant(HOST))], renew)
    assert renew.spent == [] and machine.files() == before


@pytest.mark.parametrize(("life", "served"), [(100, True), (10, False)])
def test_where_there_is_no_room_what_still_serves_is_served(life: float, served: bool) -> None:
    renew, warnings, slot = Renewal(), list[str](), MemorySlot(grant(life=life), no_room=FULL)
    if served:
        assert keep(slot, renew=renew, warn=warnings.append).value == "old" and "no space left" in warnings[0]
    else:
        with pytest.raises(ConfigError, match="no space left"):
            keep(slot, renew=renew)
    assert renew.spent == [] and "write" not in slot.done


def stale_login(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": grant_fields(Grant(HOST, "old", "r", time.time() - 10))})


def storm(
    machine: Machine, renew: Callable[[Grant, World], Grant], demand: Demand, count: int = 50, *, lock: bool = True
) -> list[str]:
    """That many threads, each with a file of its own in hand, ask at once."""
    together, found = threading.Barrier(count), list[str]()

    def ask() -> None:
        together.wait(30)
        slot = OwnSlot(AuthJson(machine.world), Grant(HOST))
        if not lock:
            slot.locked = contextlib.nullcontext  # type: ignore[assignment]
        found.append(Keeper("databricks-cli", machine.world, demand).fresh([slot], renew).value)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.parametrize("demand", [Demand(), Demand(rejected="old")])
def test_fifty_threads_with_one_stale_login_renew_it_once(machine: Machine, demand: Demand) -> None:
    stale_login(machine)
    renew = Renewal()
    assert storm(machine, renew, demand) == ["new-1"] * 50
    assert renew.spent == ["r"]
    held = OwnSlot(AuthJson(machine.world), Grant(HOST)).read()
    assert held and (held.access, held.refresh) == ("new-1", "r-1")


def test_without_the_lock_the_same_threads_spend_one_refresh_token_many_times(machine: Machine) -> None:
    """The negative control of the test above."""
    stale_login(machine)
    together, renew = threading.Barrier(10), Renewal()

    def slow(held: Grant, world: World) -> Grant:
        together.wait(30)
        return renew(held, world)

    storm(machine, slow, Demand(), 10, lock=False)
    assert renew.spent == ["r"] * 10


# ---- without the network ---------------------------------------------------------------------------------------------


def on(machine: Machine, **env: str) -> tuple[Profile, World]:
    machine.env.update(env)
    world = machine.world._replace(http=never)
    return profiles.load(world), world


def test_no_refresh_serves_what_is_cached_and_never_touches_the_network(machine: Machine) -> None:
    machine.cached_login(HOST)
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    before = machine.files()
    assert resolve.token(profile, world, Demand(renew=False)).value == "cached"
    assert machine.files() == before


@pytest.mark.parametrize("forced", [Demand(renew=False), Demand(renew=False, min_ttl=3600)])
def test_no_refresh_and_an_ended_token_is_an_error_and_never_touches_the_network(
    machine: Machine, forced: Demand
) -> None:
    machine.cached_login(HOST, expiry="2020-01-01T00:00:00Z")
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    before = machine.files()
    with pytest.raises(Refused, match="--no-refresh") as caught:
        resolve.token(profile, world, forced)
    assert caught.value.hint == "leave out --no-refresh"
    assert machine.files() == before


def test_no_refresh_asks_no_network_for_a_service_principal_either(machine: Machine) -> None:
    profile, world = on(machine, DATABRICKS_HOST=HOST, DATABRICKS_CLIENT_ID="id", DATABRICKS_CLIENT_SECRET="cs-secret")
    with pytest.raises(Refused, match="--no-refresh") as caught:
        resolve.token(profile, world, Demand(renew=False))
    assert "secret" not in str(caught.value)


def test_with_the_network_the_same_login_is_renewed_over_it(machine: Machine) -> None:
    """The control of the tests above: it is `renew` that keeps the network out."""
    machine.cached_login(HOST, expiry="2020-01-01T00:00:00Z")
    far = FarSide({"/oidc/v1/token": (200, {"access_token": "new", "refresh_token": "r2", "expires_in": 3600})})
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    assert resolve.token(profile, world._replace(http=far)).value == "new"
    assert far.posts() == [{"grant_type": "refresh_token", "refresh_token": "r", "client_id": "databricks-cli"}]


# ---- several failures, one answer ------------------------------------------------------------------------------------


def test_a_damaged_file_of_ours_does_not_hide_a_login_of_the_cli(machine: Machine) -> None:
    machine.write(machine.auth_json, "{")
    machine.cached_login(HOST)
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    resolution = resolve.resolve(profile, world)
    assert resolution.token and resolution.token.value == "cached"
    assert {a.auth_type: a.outcome for a in resolution.attempts}["stored"] == "failed"


def test_another_hosts_login_is_never_served(machine: Machine) -> None:
    machine.cached_login(OTHER)
    machine.write(machine.auth_json, {"databricks": grant_fields(Grant(OTHER, "theirs", "r", None))})
    profile, world = on(machine, DATABRICKS_HOST=HOST)
    with pytest.raises(NotConfigured) as caught:
        resolve.token(profile, world)
    assert caught.value.hint == f"dbx-auth login {HOST}"


def test_every_kind_of_error_has_its_own_exit_code() -> None:
    kinds = (Refused, UsageError, LoginRequired, ConfigError, Temporary)
    assert [kind.exit_code for kind in kinds] == [1, 2, 4, 5, 6]
    assert [kind.retryable for kind in kinds] == [False, False, False, False, True]


# ---- signals ---------------------------------------------------------------------------------------------------------


class Slow(BaseHTTPRequestHandler):
    """A token endpoint that spends the refresh token when it is asked, and answers a while later."""

    spent: threading.Event

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.spent.set()
        time.sleep(0.4)
        body = b'{"access_token": "new", "refresh_token": "r-new", "expires_in": 3600}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_server_answers_costs_nobody_their_login(
    machine: Machine, number: signal.Signals, code: int
) -> None:
    """The old refresh token is spent by then; whoever leaves before the answer is kept has lost the session."""
    handler = type("Handler", (Slow,), {"spent": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        host = f"http://127.0.0.1:{server.server_address[1]}"
        machine.cached_login(host, expiry="2020-01-01T00:00:00Z")
        argv = [sys.executable, "-m", "dbx_auth", "token"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = machine.child_env(DATABRICKS_HOST=host)
        with subprocess.Popen(argv, env=env, text=True, **pipes) as child:  # type: ignore[call-overload]
            assert handler.spent.wait(20)  # type: ignore[attr-defined]
            child.send_signal(number)
            _, said = child.communicate(timeout=20)
    finally:
        server.shutdown()
        server.server_close()
    assert child.returncode in (code, -number) and "Traceback" not in said
    assert json.loads(machine.cli_cache.read_text())["tokens"][host]["refresh_token"] == "r-new"


def test_without_renewal_a_token_that_still_serves_is_handed_out_in_silence() -> None:
    warnings: list[str] = []
    slot = MemorySlot(grant(life=100))
    found = keep(slot, demand=Demand(renew=False), renew=Renewal(), warn=warnings.append)
    assert (found.value, warnings, slot.done) == ("old", [], ["read"])
