"""One renewal per machine, and nothing lost on the way: who asks the server, what is spent, and what becomes of it."""

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
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from machine import HOST, Machine
from unit.far_side import Clock, MemorySlot, is_locked, never

from dbx_auth import lock as locks, refresh
from dbx_auth.errors import (
    AuthError,
    ConfigError,
    InDoubt,
    LoginRequired,
    Refused,
    Temporary,
    Unavailable,
    Unreachable,
)
from dbx_auth.journal import Journal, fingerprint
from dbx_auth.lock import Lock
from dbx_auth.refresh import AHEAD, BUDGET, LOOKS, Keeper, Spend
from dbx_auth.store import AuthJson, CliCache, CliSlot, Grant, OwnSlot, Slot, grant_fields
from dbx_auth.tokens import AIM, FLOOR, Demand, Token, format_expiry
from dbx_auth.world import World

NOW = 1_700_000_000.0

BUSY = Temporary("the server is busy", hint="try again")
AWAY = Unreachable("cannot reach it", hint="check the network")
DOUBT = InDoubt("it broke off", hint="try again")
GONE = LoginRequired("invalid_grant", hint="dbx-auth login X")
DENIED = Refused("no", hint="h")
FULL = ConfigError("no space left", hint="make room")


def grant(access: str = "old", life: float | None = 3600, refresh: str = "r") -> Grant:
    return Grant(HOST, access, refresh, None if life is None else NOW + life)


class Renewal:
    """Stands for `oauth.renewal`: counts, and gives new-1, new-2 …, or what it is told to, one after the other.

    `lookup` is done while the endpoint is looked up, `takes` is how many seconds each request takes.
    """

    def __init__(
        self,
        *outcomes: Grant | AuthError | Callable[[], Grant],
        lookup: Callable[[], object] = lambda: None,
        takes: float = 0.0,
    ) -> None:
        self.outcomes = list(outcomes)
        self.lookup = lookup
        self.takes = takes
        self.looked_up = 0
        self.spent: list[str] = []
        self.budgets: list[float] = []
        self.during: Callable[[Grant], object] = lambda grant: None
        self.done: list[str] = []
        self.clock: Clock | None = None
        self._lock = threading.Lock()

    def __call__(self, wanted: Grant, world: World) -> Spend:
        assert (wanted.host, wanted.client_id) == (HOST, "databricks-cli")
        self.looked_up += 1
        self.done.append("look up")
        self.lookup()
        return lambda grant, budget: self.spend(grant, budget, world)

    def spend(self, grant: Grant, budget: float, world: World) -> Grant:
        with self._lock:
            self.spent.append(grant.refresh)
            self.budgets.append(budget)
            number = len(self.spent)
        self.done.append("spend")
        self.during(grant)
        if self.clock:
            self.clock.passed += self.takes
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, AuthError):
            raise outcome
        if callable(outcome):
            return outcome()
        return outcome or Grant(grant.host, f"new-{number}", f"r-{number}", world.now() + 3600)


class Scene:
    """A world under a clock of its own, a login in it, and all that is done and told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "refresh"
        self.clock = Clock(NOW)
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.done: list[str] = []
        self.world = self.clock.into(
            World(
                {},
                "/nonexistent",
                http=never,
                warn=self.warnings.append,
                note=self.notes.append,
                uninterrupted=self.uninterrupted,
            )
        )

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        self.done.append("hold")
        try:
            yield
        finally:
            self.done.append("release")

    def slot(self, held: Grant | None, origin: str = "memory", **how: Any) -> MemorySlot:
        slot = MemorySlot(held, self.folder, origin, **how)
        slot.done = self.done
        return slot

    def keep(
        self,
        *slots: Slot,
        renew: Renewal | None = None,
        demand: Demand | None = None,
        auth_type: str = "databricks-cli",
    ) -> Token:
        renew = renew or Renewal(AuthError("nobody may renew", hint=""))
        renew.done, renew.clock = self.done, self.clock
        return Keeper(auth_type, self.world, demand or Demand()).fresh(slots, renew)

    @property
    def lock(self) -> str:
        return str(self.folder / "id.lock")

    @property
    def journal(self) -> Journal:
        return Journal(self.world, [self.lock])

    def kept(self) -> Any:
        """What the journal holds."""
        return json.loads((self.folder / "id.json").read_text())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process is renewing."""
        with Lock(World({}, "/nonexistent"), "it", [self.lock]).held():
            yield


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


RENEWED = ["lock", "read", "look up", "room", "hold", "read", "spend", "write", "release", "unlock"]
"""What happens once to a stale login, in this order."""


# ---- fresh or stale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", [AIM, AIM + 1, 3600, None])
def test_a_fresh_token_takes_no_lock_no_network_and_no_write(scene: Scene, life: float | None) -> None:
    found = scene.keep(scene.slot(grant(life=life)))
    expires_at = None if life is None else NOW + life
    assert found == Token("old", expires_at, "databricks-cli", "memory", HOST, refreshable=True)
    assert scene.done == ["read"] and not scene.folder.exists() and scene.notes == scene.warnings == []


@pytest.mark.parametrize("life", [AIM - 0.01, FLOOR, 0, -1e9])
def test_a_stale_token_is_renewed_once_under_the_lock_and_written_back(scene: Scene, life: float) -> None:
    slot, renew = scene.slot(grant(life=life)), Renewal()
    found = scene.keep(slot, renew=renew, auth_type="some")
    assert found == Token("new-1", NOW + 3600, "some", "memory", HOST, refreshable=True)
    assert scene.done == ["read", *RENEWED]
    assert (renew.spent, renew.budgets, BUDGET) == (["r"], [30.0], 30.0)
    assert slot.grant == Grant(HOST, "new-1", "r-1", NOW + 3600)
    assert scene.notes == ["memory: renewing"] and scene.warnings == [] and scene.clock.sleeps == []
    assert not is_locked(scene.lock)


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
    scene: Scene, min_ttl: float | None, life: float, renewed: bool
) -> None:
    renew = Renewal()
    found = scene.keep(scene.slot(grant(life=life)), renew=renew, demand=Demand(min_ttl=min_ttl))
    assert (found.value, len(renew.spent)) == (("new-1", 1) if renewed else ("old", 0))


def test_force_renews_a_fresh_token(scene: Scene) -> None:
    renew = Renewal()
    assert scene.keep(scene.slot(grant()), renew=renew, demand=Demand(force=True)).value == "new-1"
    assert renew.spent == ["r"]


def test_an_empty_access_token_is_renewed_whatever_its_expiry_says(scene: Scene) -> None:
    assert scene.keep(scene.slot(grant("", None)), renew=Renewal()).value == "new-1"


@pytest.mark.parametrize("life", [None, 3600, 200])
def test_a_token_that_a_server_refused_is_never_handed_out_again(scene: Scene, life: float | None) -> None:
    demand = Demand(rejected="old")
    with pytest.raises(Temporary):
        scene.keep(scene.slot(grant(life=life)), renew=Renewal(BUSY), demand=demand)
    with pytest.raises(LoginRequired):
        scene.keep(scene.slot(grant(life=life, refresh="")), renew=Renewal(), demand=demand)
    assert scene.keep(scene.slot(grant(life=life)), renew=Renewal(), demand=demand).value == "new-1"


@pytest.mark.parametrize("access", ["", "old"])
def test_without_a_refresh_token_a_person_must_log_in(scene: Scene, access: str) -> None:
    with pytest.raises(LoginRequired) as caught:
        scene.keep(scene.slot(grant(access, life=10, refresh="")), renew=Renewal())
    assert str(caught.value) == "the login in memory has ended and has no refresh token"
    assert caught.value.hint == f"dbx-auth login {HOST}"
    assert scene.done == ["read"] and not scene.folder.exists()


def test_without_a_refresh_token_what_is_left_is_served(scene: Scene) -> None:
    found = scene.keep(scene.slot(grant(life=100, refresh="")), renew=Renewal())
    assert (found.value, found.refreshable) == ("old", False) and len(scene.warnings) == 1


@pytest.mark.parametrize(("life", "shared"), [(100, False), (400, True), (3600, True)])
def test_without_renewal_a_token_that_still_serves_is_handed_out_in_silence(
    scene: Scene, life: float, shared: bool
) -> None:
    found = scene.keep(scene.slot(grant(life=life), shared=shared), demand=Demand(renew=False))
    assert (found.value, scene.warnings, scene.notes, scene.done) == ("old", [], [], ["read"])


# ---- when it cannot be renewed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [BUSY, AWAY, DOUBT, GONE, DENIED])
@pytest.mark.parametrize(("life", "served"), [(299, True), (FLOOR + 1.6, True), (FLOOR, False), (0, False)])
def test_when_renewing_fails_a_token_with_more_than_40_s_left_is_served_with_a_warning(
    scene: Scene, failure: AuthError, life: float, served: bool
) -> None:
    slot = scene.slot(grant(life=life))
    if served:
        assert scene.keep(slot, renew=Renewal(failure, failure)).value == "old"
        left = life - scene.clock.passed
        assert scene.warnings == [f"the token was not renewed and ends in {left:.0f} s: {failure}"]
    else:
        with pytest.raises(type(failure)) as caught:
            scene.keep(slot, renew=Renewal(failure, failure))
        assert caught.value is failure and not scene.warnings
    assert "write" not in scene.done and slot.grant == grant(life=life)
    assert scene.done[-2:] == ["release", "unlock"]


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
def test_what_was_asked_for_and_cannot_be_had_is_an_error(scene: Scene, demand: Demand, life: float) -> None:
    with pytest.raises(Temporary):
        scene.keep(scene.slot(grant(life=life)), renew=Renewal(BUSY), demand=demand)
    assert scene.warnings == []


@pytest.mark.parametrize("failure", [BUSY, AWAY, DOUBT])
def test_a_server_that_failed_is_left_alone_for_half_a_minute_while_the_token_serves(
    scene: Scene, failure: AuthError
) -> None:
    slot, renew = scene.slot(grant(life=299)), Renewal(failure, failure)
    asked = []
    for passed in (0, 0.1, 29.9, 30, 30.1, 31):
        scene.clock.passed = passed
        assert scene.keep(slot, renew=renew).value in ("old", "new-3")
        asked.append(len(renew.spent))
    assert asked == [1, 1, 1, 1, 2, 2] and renew.looked_up == 2
    text = "the token was not renewed and ends in 299 s: the last try failed a moment ago"
    assert scene.warnings[1] == text
    scene.clock.passed = 61
    assert scene.keep(slot, renew=renew).value == "new-3", "and then it is well again"


def test_without_that_memory_it_would_be_asked_each_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(Journal, "has_failed", lambda *rest: False)
    slot, renew = scene.slot(grant(life=299)), Renewal(BUSY, BUSY, BUSY)
    for _ in range(3):
        scene.keep(slot, renew=renew)
    assert len(renew.spent) == 3


@pytest.mark.parametrize("failure", [DENIED, FULL])
def test_a_refusal_that_will_not_pass_is_asked_for_as_often_as_somebody_wants_to_hear_it(
    scene: Scene, failure: AuthError
) -> None:
    slot, renew = scene.slot(grant(life=200)), Renewal(failure, failure)
    scene.keep(slot, renew=renew)
    scene.keep(slot, renew=renew)
    assert len(renew.spent) == 2


@pytest.mark.parametrize(
    ("demand", "life"), [(Demand(), 10), (Demand(force=True), 3600), (Demand(rejected="old"), 3600)]
)
def test_where_nothing_serves_the_server_is_asked_each_time(scene: Scene, demand: Demand, life: float) -> None:
    slot, renew = scene.slot(grant(life=life)), Renewal(BUSY)
    with pytest.raises(Temporary, match="busy"):
        scene.keep(slot, renew=renew, demand=demand)
    assert scene.keep(slot, renew=renew, demand=demand).value == "new-2"


# ---- somebody else was quicker ---------------------------------------------------------------------------------------

DEMANDS = [Demand(), Demand(force=True), Demand(rejected="old"), Demand(min_ttl=1800)]


@pytest.mark.parametrize("demand", DEMANDS)
def test_what_another_process_renewed_meanwhile_is_adopted(scene: Scene, demand: Demand) -> None:
    other = grant("theirs", 3600, "r-theirs")
    slot, renew = scene.slot(grant(life=10), meanwhile=lambda s: setattr(s, "grant", other)), Renewal()
    assert scene.keep(slot, renew=renew, demand=demand).value == "theirs"
    assert renew.looked_up == 0 and renew.spent == []
    assert scene.done == ["read", "lock", "read", "unlock"] and scene.notes == ["memory: renewed by somebody else"]
    assert not (scene.folder / "id.json").exists()


@pytest.mark.parametrize(("life", "adopted"), [(AIM, True), (AIM - 0.1, False)])
def test_what_has_just_the_life_that_we_aim_for_is_adopted(scene: Scene, life: float, adopted: bool) -> None:
    renew = Renewal()
    slot = scene.slot(grant(life=10), meanwhile=lambda s: setattr(s, "grant", grant("theirs", life, "r-theirs")))
    assert (scene.keep(slot, renew=renew).value == "theirs") is adopted


def test_without_adopting_the_same_process_would_spend_it_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(Keeper, "_adopts", lambda *rest: False)
    slot = scene.slot(grant(life=10), meanwhile=lambda s: setattr(s, "grant", grant("theirs", 3600, "r-theirs")))
    renew = Renewal()
    scene.keep(slot, renew=renew, demand=Demand(force=True))
    assert renew.spent == ["r-theirs"]


STALE = [
    (grant("theirs", AIM - 1, "r-theirs"), Demand()),
    (grant("theirs", 3600, "r-theirs"), Demand(rejected="theirs")),
    (grant("theirs", 900, "r-theirs"), Demand(min_ttl=1800)),
    (grant("theirs", 60, "r-theirs"), Demand(force=True)),
    (grant("", 3600, "r-theirs"), Demand()),
    (grant("old", 10, "r-theirs"), Demand()),
]


@pytest.mark.parametrize(("other", "demand"), STALE)
@pytest.mark.parametrize("when", ["before the lock", "while the endpoint is looked up", "while it is claimed"])
def test_only_the_refresh_token_read_last_is_spent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, other: Grant, demand: Demand, when: str
) -> None:
    slot, renew = scene.slot(grant(life=10)), Renewal()
    put = lambda *ours: setattr(slot, "grant", other)  # noqa: E731
    if when == "before the lock":
        slot.meanwhile = put
    elif when == "while it is claimed":
        while_it_is_claimed(monkeypatch, put)
    else:
        renew.lookup = put
    assert scene.keep(slot, renew=renew, demand=demand).value == "new-1"
    assert renew.spent == ["r-theirs"] and slot.grant and slot.grant.refresh == "r-1"
    assert not scene.journal.is_claimed("r")


@pytest.mark.parametrize("demand", DEMANDS)
@pytest.mark.parametrize("when", ["while the endpoint is looked up", "while it is claimed"])
def test_what_is_renewed_before_we_ask_is_adopted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, demand: Demand, when: str
) -> None:
    """To get there takes seconds, in which a program without a lock has all the time it needs."""
    slot, renew = scene.slot(grant(life=10)), Renewal()
    put = lambda *ours: setattr(slot, "grant", grant("theirs", 3600, "r-theirs"))  # noqa: E731
    if when == "while it is claimed":
        while_it_is_claimed(monkeypatch, put)
    else:
        renew.lookup = put
    assert scene.keep(slot, renew=renew, demand=demand).value == "theirs"
    assert renew.looked_up == 1 and renew.spent == []
    assert scene.done == ["read", *RENEWED[:6], "release", "read", "unlock"]
    assert not scene.journal.is_claimed("r")


def test_a_claim_that_another_process_left_is_not_taken_back(scene: Scene) -> None:
    """It may have spent the refresh token; if what is in the slot is put back, it is asked for once more at most."""
    slot = scene.slot(grant(life=10))
    scene.journal.claim("r")
    renew = Renewal(lookup=lambda: setattr(slot, "grant", grant("theirs", 3600, "r-theirs")))
    scene.keep(slot, renew=renew)
    assert renew.spent == [] and scene.journal.is_claimed("r")


def test_without_the_last_look_the_old_refresh_token_would_be_spent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the tests above: whoever reads once under the lock spends what is no longer there."""
    monkeypatch.setattr(refresh, "_is_replaced", lambda found, stored: False)
    slot = scene.slot(grant(life=10))
    renew = Renewal(lookup=lambda: setattr(slot, "grant", grant("theirs", 3600, "r-theirs")))
    scene.keep(slot, renew=renew)
    assert renew.spent == ["r"]


def while_it_is_claimed(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Let `then` happen when a claim has been written for the first time."""
    claim, todo = Journal.claim, [then]

    def claimed(journal: Journal, token: str) -> None:
        claim(journal, token)
        if todo:
            todo.pop()()

    monkeypatch.setattr(Journal, "claim", claimed)


def test_the_endpoint_is_looked_up_once(scene: Scene) -> None:
    renew = Renewal()
    scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert renew.looked_up == 1


def test_where_the_endpoint_cannot_be_found_nothing_is_spent_or_claimed(scene: Scene) -> None:
    def lookup() -> None:
        raise AWAY

    renew = Renewal(lookup=lookup)
    with pytest.raises(Unreachable):
        scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert renew.spent == [] and os.listdir(scene.folder) == ["id.lock"]


@pytest.mark.parametrize("when", ["before the lock", "while the endpoint is looked up"])
@pytest.mark.parametrize(("left", "kind"), [(None, Unavailable), (grant("theirs", 10, ""), LoginRequired)])
def test_a_login_that_ended_meanwhile_is_neither_renewed_nor_brought_back(
    scene: Scene, left: Grant | None, kind: type[Exception], when: str
) -> None:
    """An empty refresh token is no question to ask a server, and no name to find twins by."""
    slot, renew = scene.slot(grant(life=10)), Renewal()
    end = lambda *ours: setattr(slot, "grant", left)  # noqa: E731
    if when == "before the lock":
        slot.meanwhile = end
    else:
        renew.lookup = end
    with pytest.raises(kind, match="memory"):
        scene.keep(slot, renew=renew)
    assert renew.spent == [] and "write" not in scene.done
    assert slot.grant == left


def test_a_login_that_was_buried_while_we_waited_is_not_renewed(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=10)), Renewal()
    slot.meanwhile = lambda *ours: scene.journal.bury("r")
    with pytest.raises(LoginRequired, match="memory"):
        scene.keep(slot, renew=renew)
    assert renew.spent == [] and "write" not in scene.done and slot.grant == grant(life=10)


def test_a_logout_during_the_refresh_wins(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": grant_fields(grant(life=-1e9))})
    file = AuthJson(machine.world)

    def renew(wanted: Grant, world: World) -> Spend:
        def spend(held: Grant, budget: float) -> Grant:
            machine.write(machine.auth_json, {})
            return Grant(HOST, "new", "r-new", None)

        return spend

    found = Keeper("databricks-cli", machine.world, Demand()).fresh([OwnSlot(file, Grant(HOST))], renew)
    assert (found.value, file.read()) == ("new", {})


# ---- renewed a moment ago --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("demand", DEMANDS[:2] + [Demand(min_ttl=7200)])
def test_a_token_renewed_in_the_last_ten_seconds_satisfies_everybody(scene: Scene, demand: Demand) -> None:
    """Two hundred programs that all want a new one get the same new one."""
    slot, renew = scene.slot(grant(life=10)), Renewal()
    values = []
    for passed in (0, 0.1, 5, 10):
        scene.clock.passed = passed
        values.append(scene.keep(slot, renew=renew, demand=demand).value)
    assert values == ["new-1"] * 4 and renew.spent == ["r"]
    scene.clock.passed = 10.1
    last = scene.keep(slot, renew=renew, demand=demand).value
    assert last == ("new-1" if demand == Demand() else "new-2")


def test_without_that_memory_everybody_would_renew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(Journal, "is_recent", lambda *rest: False)
    slot, renew = scene.slot(grant(life=10)), Renewal()
    for _ in range(4):
        scene.keep(slot, renew=renew, demand=Demand(force=True))
    assert len(renew.spent) == 4


@pytest.mark.parametrize(("life", "value"), [(FLOOR + 0.1, "brief"), (FLOOR, "new-1")])
def test_a_server_that_gives_short_lives_is_not_asked_again_at_once(scene: Scene, life: float, value: str) -> None:
    scene.journal.settle("", "brief")
    assert scene.keep(scene.slot(grant("brief", life)), renew=Renewal(), demand=Demand(force=True)).value == value


def test_a_token_that_was_refused_does_not_satisfy_however_new_it_is(scene: Scene) -> None:
    scene.journal.settle("", "old")
    assert scene.keep(scene.slot(grant()), renew=Renewal(), demand=Demand(rejected="old")).value == "new-1"


# ---- in doubt --------------------------------------------------------------------------------------------------------


def test_what_is_about_to_be_spent_is_written_down_before_the_request(scene: Scene) -> None:
    seen: list[tuple[Any, bool]] = []
    renew = Renewal()
    renew.during = lambda grant: seen.append((scene.kept()["claims"], is_locked(scene.lock)))
    scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert seen == [({fingerprint("r"): NOW}, True)]
    assert scene.kept() == {"claims": {}, "dead": {}, "renewed": {fingerprint("new-1"): NOW}, "failed": {}}


def test_where_that_cannot_be_written_nothing_is_spent(scene: Scene) -> None:
    (scene.folder / "id.json").mkdir(parents=True)
    renew = Renewal()
    with pytest.raises(ConfigError, match="id.json"):
        scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert renew.spent == []


@pytest.mark.parametrize(("takes", "left"), [(0.0, 30.0), (12.5, 17.5), (29.0, 1.0)])
def test_a_request_without_an_answer_is_sent_once_more_in_what_is_left_of_the_time(
    scene: Scene, takes: float, left: float
) -> None:
    """With the same refresh token: it is the only hope there is."""
    slot, renew = scene.slot(grant(life=10)), Renewal(DOUBT, takes=takes)
    assert scene.keep(slot, renew=renew).value == "new-2"
    assert (renew.spent, renew.budgets, renew.looked_up) == (["r", "r"], [30, left], 1)
    assert scene.notes == ["memory: renewing", "asking once more: it broke off"]
    assert scene.kept()["claims"] == {} and slot.grant and slot.grant.refresh == "r-2"


def test_where_the_time_is_over_there_is_no_second_try(scene: Scene) -> None:
    renew = Renewal(DOUBT, takes=29.1)
    with pytest.raises(InDoubt):
        scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert len(renew.spent) == 1


def test_after_two_tries_it_stays_in_doubt_and_the_next_process_tries_once(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=10)), Renewal(DOUBT, DOUBT, DOUBT)
    for tries in (2, 3):
        with pytest.raises(InDoubt, match="broke off"):
            scene.keep(slot, renew=renew)
        assert len(renew.spent) == tries
        assert scene.journal.is_claimed("r") and not scene.journal.is_dead("r")
    assert scene.keep(slot, renew=renew).value == "new-4"
    assert scene.kept()["claims"] == {}


def test_a_claim_that_a_killed_process_left_allows_one_try(scene: Scene) -> None:
    scene.journal.claim("r")
    renew = Renewal(DOUBT)
    with pytest.raises(InDoubt):
        scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert renew.spent == ["r"]


def test_without_the_claim_every_process_would_try_twice(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the tests above: a refresh token in doubt is sent again and again."""
    monkeypatch.setattr(Journal, "claim", lambda *rest: None)
    slot, renew = scene.slot(grant(life=10)), Renewal(DOUBT, DOUBT, DOUBT, DOUBT)
    for tries in (2, 4):
        with pytest.raises(InDoubt):
            scene.keep(slot, renew=renew)
        assert len(renew.spent) == tries


def test_while_the_token_serves_nothing_is_sent_twice(scene: Scene) -> None:
    renew = Renewal(DOUBT)
    assert scene.keep(scene.slot(grant(life=100)), renew=renew).value == "old"
    assert renew.spent == ["r"] and scene.journal.is_claimed("r")


def test_one_that_serves_but_was_asked_to_be_renewed_is(scene: Scene) -> None:
    renew = Renewal(DOUBT)
    assert scene.keep(scene.slot(grant()), renew=renew, demand=Demand(force=True)).value == "new-2"


@pytest.mark.parametrize("failure", [BUSY, AWAY, DENIED, FULL])
def test_what_was_not_heard_or_was_refused_is_neither_sent_again_nor_in_doubt(scene: Scene, failure: AuthError) -> None:
    renew = Renewal(failure)
    with pytest.raises(type(failure)):
        scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert renew.spent == ["r"] and not scene.journal.is_claimed("r")
    assert scene.journal.has_failed("r") is isinstance(failure, Temporary)
    assert scene.clock.sleeps == [], "only a server that says no is doubted"


def test_a_second_try_that_is_refused_means_that_the_first_was_heard(scene: Scene) -> None:
    with pytest.raises(LoginRequired, match="invalid_grant"):
        scene.keep(scene.slot(grant(life=10)), renew=Renewal(DOUBT, GONE))
    assert scene.clock.sleeps == list(LOOKS)
    assert scene.journal.is_dead("r") and not scene.journal.is_claimed("r")


# ---- invalid_grant ---------------------------------------------------------------------------------------------------


def test_a_refusal_is_believed_after_seven_looks_and_then_nobody_asks_again(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=10)), Renewal(GONE)
    with pytest.raises(LoginRequired) as caught:
        scene.keep(slot, renew=renew)
    assert caught.value is GONE
    assert scene.clock.sleeps == [0.0, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8]
    assert scene.done == ["read", *RENEWED[:7], *["read"] * 7, "release", "unlock"]
    assert slot.grant == grant(life=10), "the entry stays"
    assert scene.journal.is_dead("r") and not scene.journal.is_claimed("r") and not scene.journal.has_failed("r")
    for _ in range(3):
        with pytest.raises(LoginRequired) as caught:
            scene.keep(slot, renew=renew)
        text = "the server takes the refresh token in memory no longer, as it has said before"
        assert (str(caught.value), caught.value.hint) == (text, f"dbx-auth login {HOST}")
    assert renew.spent == ["r"] and renew.looked_up == 1
    slot.grant = grant("again", 10, "r-after-a-new-login")
    assert scene.keep(slot, renew=renew).value == "new-2", "a tombstone is that of one refresh token"


def test_without_the_tombstone_the_server_would_be_asked_each_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(Journal, "is_dead", lambda *rest: False)
    slot, renew = scene.slot(grant(life=10)), Renewal(GONE, GONE, GONE)
    for _ in range(3):
        with pytest.raises(LoginRequired):
            scene.keep(slot, renew=renew)
    assert len(renew.spent) == 3


@pytest.mark.parametrize("look", range(1, 8))
@pytest.mark.parametrize("demand", DEMANDS)
def test_a_refresh_that_another_program_won_is_no_error(scene: Scene, look: int, demand: Demand) -> None:
    """The Databricks CLI takes no lock: it may spend the refresh token while we are on our way with it."""
    slot, renew = scene.slot(grant(life=-10)), Renewal(GONE)

    def write() -> None:
        if len(scene.clock.sleeps) == look:
            slot.grant = grant("theirs", 3600, "r-theirs")

    scene.clock.asleep = write
    assert scene.keep(slot, renew=renew, demand=demand).value == "theirs"
    assert scene.clock.sleeps == list(LOOKS[:look]) and renew.spent == ["r"]
    assert "write" not in scene.done and scene.warnings == []
    assert scene.notes == ["memory: renewing"] and scene.done.count("read") == 3 + look
    assert scene.kept() == {
        "claims": {},
        "dead": {},
        "renewed": {fingerprint("theirs"): scene.clock.now()},
        "failed": {},
    }


@pytest.mark.parametrize("patch", ["looks", "winner"])
def test_without_the_looks_the_same_refresh_ends_the_login(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, patch: str
) -> None:
    """The negative control of the test above."""
    if patch == "looks":
        monkeypatch.setattr(refresh, "LOOKS", ())
    else:
        monkeypatch.setattr(Keeper, "_winner", lambda *rest: None)
    slot, renew = scene.slot(grant(life=-10)), Renewal(GONE)
    renew.during = lambda spent: setattr(slot, "grant", grant("theirs", 3600, "r-theirs"))
    with pytest.raises(LoginRequired):
        scene.keep(slot, renew=renew)


@pytest.mark.parametrize(
    ("theirs", "demand"),
    [
        (grant("theirs", FLOOR, "r-theirs"), Demand()),
        (grant("theirs", -10, "r-theirs"), Demand(force=True)),
        (grant("old", -10, "r-theirs"), Demand()),
        (grant("theirs", 3600, "r-theirs"), Demand(rejected="theirs")),
    ],
)
def test_where_the_winner_s_token_is_no_use_its_refresh_token_is(scene: Scene, theirs: Grant, demand: Demand) -> None:
    slot, renew = scene.slot(grant(life=-10)), Renewal(GONE)
    renew.during = lambda spent: setattr(slot, "grant", theirs) if spent.refresh == "r" else None
    assert scene.keep(slot, renew=renew, demand=demand).value == "new-2"
    assert renew.spent == ["r", "r-theirs"] and renew.looked_up == 2
    assert slot.grant and slot.grant.refresh == "r-2"


def test_who_loses_twice_lets_the_others_have_it(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=-10)), Renewal(GONE, GONE, GONE)
    renew.during = lambda spent: setattr(slot, "grant", grant(f"theirs-{spent.refresh}", -10, f"x-{spent.refresh}"))
    with pytest.raises(Temporary) as caught:
        scene.keep(slot, renew=renew)
    assert str(caught.value) == "other programs keep renewing the login in memory"
    assert (caught.value.hint, renew.spent) == ("try again", ["r", "x-r"])
    assert scene.kept()["dead"] == scene.kept()["claims"] == {}


def test_a_login_that_vanishes_while_we_look_leaves_no_hope_either(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=-10)), Renewal(GONE)
    renew.during = lambda spent: setattr(slot, "grant", None)
    with pytest.raises(LoginRequired):
        scene.keep(slot, renew=renew)
    assert scene.clock.sleeps == list(LOOKS) and scene.journal.is_dead("r")


def test_a_refused_login_whose_token_still_serves_goes_on_until_it_ends(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=100)), Renewal(GONE)
    assert [scene.keep(slot, renew=renew).value for _ in range(2)] == ["old", "old"]
    assert renew.spent == ["r"] and "as it has said before" in scene.warnings[1]


# ---- nothing is lost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [FULL, Temporary("somebody writes over it", hint="end it")])
def test_a_token_that_was_renewed_and_could_not_be_kept_is_handed_out_and_waits_aside(
    scene: Scene, failure: AuthError
) -> None:
    """The old refresh token is spent: whoever throws the new one away has nothing at all."""
    slot, renew = scene.slot(grant(life=-10), full=failure), Renewal()
    assert scene.keep(slot, renew=renew).value == "new-1"
    told = f"it waits aside until it can be: {failure} ({failure.hint})"
    assert scene.warnings == [f"this token is good, but the login could not be kept, {told}"]
    assert slot.grant == grant(life=-10)
    assert scene.journal.rescued(slot.grant) == Grant(HOST, "new-1", "r-1", NOW + 3600)
    assert scene.kept()["claims"] == {} and scene.journal.is_recent("new-1")

    scene.done.clear()
    assert scene.keep(slot, renew=renew).value == "new-1", "while the store cannot be written it serves from there"
    assert len(scene.warnings) == 2 and slot.grant == grant(life=-10)

    slot.full = None
    scene.done.clear()
    assert scene.keep(slot, renew=renew).value == "new-1"
    assert scene.done == ["read", "lock", "read", "write anywhere", "unlock"] and len(scene.warnings) == 2
    assert slot.grant == Grant(HOST, "new-1", "r-1", NOW + 3600), "and is brought back when it can be"
    assert sorted(os.listdir(scene.folder)) == ["id.json", "id.lock"]
    assert renew.spent == ["r"]


def test_without_the_rescue_the_spent_token_would_be_spent_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(Journal, "rescue", lambda *rest: True)
    slot, renew = scene.slot(grant(life=-10), full=FULL), Renewal()
    scene.keep(slot, renew=renew)
    scene.keep(slot, renew=renew)
    assert renew.spent == ["r", "r"]


def test_what_waits_aside_is_renewed_in_place_of_what_is_stored(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=-10), full=FULL), Renewal()
    scene.keep(slot, renew=renew)
    scene.clock.passed = 3500
    assert scene.keep(slot, renew=renew).value == "new-2"
    assert renew.spent == ["r", "r-1"]
    scene.clock.passed = 7000
    slot.full = None
    assert scene.keep(slot, renew=renew).value == "new-3"
    assert renew.spent == ["r", "r-1", "r-2"] and slot.grant and slot.grant.refresh == "r-3"
    assert not (scene.folder / "id.rescue").exists()


def test_what_waits_aside_and_is_refused_gets_the_tombstone(scene: Scene) -> None:
    slot = scene.slot(grant(life=-10), full=FULL)
    scene.keep(slot, renew=Renewal())
    scene.clock.passed = 3600
    renew = Renewal(GONE)
    for _ in range(2):
        with pytest.raises(LoginRequired):
            scene.keep(slot, renew=renew)
    assert renew.spent == ["r-1"]


def test_where_nothing_can_wait_aside_the_person_is_told_what_will_come(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=-10), full=FULL), Renewal()
    for folder in (scene.folder, scene.folder / "other"):
        (folder / "id.rescue").mkdir(parents=True)
    assert scene.keep(slot, renew=renew).value == "new-1"
    assert scene.warnings == [
        "this token is good, but the login could not be kept, when the token ends, a person must log in: "
        "no space left (make room)"
    ]


@pytest.mark.parametrize(("life", "served"), [(100, True), (10, False)])
@pytest.mark.parametrize("failure", [FULL, Temporary("the keyring is slow", hint="h")])
def test_where_there_is_no_room_nothing_is_spent_and_what_still_serves_is_served(
    scene: Scene, life: float, served: bool, failure: AuthError
) -> None:
    renew, slot = Renewal(), scene.slot(grant(life=life), no_room=failure)
    if served:
        assert scene.keep(slot, renew=renew).value == "old" and str(failure) in scene.warnings[0]
    else:
        with pytest.raises(type(failure), match=str(failure)):
            scene.keep(slot, renew=renew)
    assert renew.spent == [] and scene.done == ["read", *RENEWED[:4], "unlock"]
    assert os.listdir(scene.folder) == ["id.lock"], "and nothing is claimed"


def test_who_wants_a_token_for_now_gets_one_where_there_is_no_room(scene: Scene) -> None:
    renew, slot = Renewal(), scene.slot(grant(life=10), no_room=FULL, full=FULL)
    assert scene.keep(slot, renew=renew, demand=Demand(ephemeral=True)).value == "new-1"
    assert "write anywhere" in scene.done and scene.notes[0] == "memory: no space left"
    assert len(scene.warnings) == 1 and scene.journal.rescued(grant(life=10))


def test_even_then_a_keyring_that_is_only_slow_is_waited_for(scene: Scene) -> None:
    renew, slow = Renewal(), Temporary("the keyring is slow", hint="h")
    with pytest.raises(Temporary, match="slow"):
        scene.keep(scene.slot(grant(life=10), no_room=slow), renew=renew, demand=Demand(ephemeral=True))
    assert renew.spent == []


def test_a_room_that_is_there_is_used_by_who_wants_a_token_for_now(scene: Scene) -> None:
    scene.keep(scene.slot(grant(life=10)), renew=Renewal(), demand=Demand(ephemeral=True))
    assert scene.done == ["read", *RENEWED]


@pytest.mark.parametrize(
    ("call", "number"), [("fsync", errno.ENOSPC), ("fsync", errno.EIO), ("open", errno.EROFS), ("open", errno.EACCES)]
)
def test_where_nothing_can_be_written_no_refresh_token_is_spent(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """On a full disk the answer would be lost, and with a rotating server the login."""
    machine.write(machine.auth_json, {"databricks": grant_fields(grant(life=-1e9))})
    slot = OwnSlot(AuthJson(machine.world), Grant(HOST))
    for path in slot.refresh_locks()[:1]:
        with Lock(machine.world, "it", [path]).held():
            pass
    before, real_open = machine.files(), os.open

    def fail(*args: object, **rest: object) -> None:
        raise OSError(number, os.strerror(number))

    def open_(path: Any, flags: int, *args: Any, **rest: Any) -> int:
        if flags & os.O_CREAT and not str(path).endswith(".lock"):
            fail()
        return real_open(path, flags, *args, **rest)

    if call == "fsync":
        monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(os, call, fail if call == "fsync" else open_)
    renew = Renewal()
    with pytest.raises(ConfigError, match=os.strerror(number)):
        Keeper("databricks-cli", machine.world, Demand()).fresh([slot], renew)
    assert renew.spent == [] and machine.files() == before


# ---- ahead of time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "shared", "demand", "renewed"),
    [
        (AHEAD - 0.1, True, Demand(), True),
        (AIM, True, Demand(), True),
        (AHEAD, True, Demand(), False),
        (None, True, Demand(), False),
        (AHEAD - 0.1, False, Demand(), False),
        (AHEAD - 0.1, True, Demand(min_ttl=60), True),
        (900, True, Demand(min_ttl=900), False),
        (AHEAD - 0.1, True, Demand(renew=False), False),
        (AHEAD - 0.1, True, Demand(rejected="older"), True),
    ],
)
def test_what_others_renew_without_a_lock_is_renewed_before_they_do(
    scene: Scene, life: float | None, shared: bool, demand: Demand, renewed: bool
) -> None:
    renew = Renewal()
    found = scene.keep(scene.slot(grant(life=life), shared=shared), renew=renew, demand=demand)
    assert (found.value, renew.spent) == (("new-1", ["r"]) if renewed else ("old", []))
    assert AHEAD == 600 and scene.warnings == []


def test_a_program_without_a_lock_finds_nothing_to_do_and_that_is_why(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acts at five minutes, and asks who else does only afterwards; with its negative control."""
    slot, lives = scene.slot(grant(life=1200), shared=True), list[float]()
    for ahead in (AHEAD, 0.0):
        monkeypatch.setattr(refresh, "AHEAD", ahead)
        slot.grant = grant(life=scene.clock.passed + 1200)
        shortest = 1200.0
        for _ in range(20):  # somebody asks us once a minute
            scene.keep(slot, renew=Renewal())
            shortest = min(shortest, (slot.grant.expires_at or 0) - scene.clock.now())
            scene.clock.passed += 60
        lives.append(shortest)
    assert lives[0] > AIM + 60 > lives[1]


@pytest.mark.parametrize("failure", [BUSY, AWAY, DOUBT, GONE, DENIED])
def test_ahead_of_time_a_failure_is_no_news_and_is_not_repeated_at_once(scene: Scene, failure: AuthError) -> None:
    slot, renew = scene.slot(grant(life=500), shared=True), Renewal(failure)
    assert scene.keep(slot, renew=renew).value == "old"
    assert scene.warnings == [] and f"not renewed ahead of time: {failure}" in scene.notes
    assert renew.spent == ["r"], "one request, even in doubt"
    if failure is not DENIED:
        assert scene.keep(slot, renew=renew).value == "old" and renew.spent == ["r"]
        assert scene.warnings == []


@pytest.mark.parametrize("how", [{"no_room": FULL}, {"stuck": BUSY}])
def test_ahead_of_time_nothing_is_risked(scene: Scene, how: dict[str, Any]) -> None:
    renew = Renewal()
    assert scene.keep(scene.slot(grant(life=500), shared=True, **how), renew=renew).value == "old"
    assert renew.spent == scene.warnings == []


def test_ahead_of_time_nobody_waits(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=500), shared=True), Renewal()
    with scene.locked():
        assert scene.keep(slot, renew=renew).value == "old"
    assert scene.clock.sleeps == [] and renew.spent == [] and scene.warnings == []
    assert scene.notes[0].startswith("not renewed ahead of time: another process (pid ")


def test_ahead_of_time_nobody_waits_for_the_lock_of_the_file_either(machine: Machine) -> None:
    """Another program may hold it for as long as its own renewal takes."""
    machine.cached_login(HOST, expiry=format_expiry(NOW + 500))
    clock = Clock(NOW)
    world, renew = clock.into(machine.world), Renewal()
    slot = CliSlot(CliCache(world), HOST, Grant(HOST))
    with Lock(World({}, "/nonexistent"), "it", [str(machine.home / ".databricks" / "token-cache.lock")]).held():
        assert Keeper("databricks-cli", world, Demand()).fresh([slot], renew).value == "cached"
    assert clock.sleeps == [] and renew.spent == []


# ---- who waits -------------------------------------------------------------------------------------------------------


def test_who_waits_for_another_process_takes_its_token_without_the_lock(scene: Scene) -> None:
    slot, renew = scene.slot(grant(life=10)), Renewal()

    def theirs() -> None:
        if scene.clock.passed > 3:
            slot.grant = grant("theirs", 3600, "r-theirs")

    scene.clock.asleep = theirs
    with scene.locked():
        assert scene.keep(slot, renew=renew).value == "theirs"
    assert 3 < scene.clock.passed < 4.2 and "lock" not in scene.done and renew.looked_up == 0


def test_who_has_waited_waits_so_much_less_for_the_next_lock(scene: Scene) -> None:
    """Sixty seconds are for both together: whoever asks us may have to answer somebody, too."""
    slot, other = scene.slot(grant(life=10)), scene.locked()
    other.__enter__()
    scene.clock.asleep = lambda: other.__exit__(None, None, None) if len(scene.clock.sleeps) == 100 else None
    assert scene.keep(slot, renew=Renewal()).value == "new-1"
    assert scene.clock.passed > 2 and slot.waits == [pytest.approx(60 - scene.clock.passed)]
    slot.grant = grant(life=500)
    slot.shared = True
    scene.clock.asleep = lambda: None
    assert scene.keep(slot, renew=Renewal()).value == "new-1" and slot.waits[1] == 0.0, "nor for what is not needed yet"


def test_without_looking_meanwhile_it_would_wait_for_the_lock(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above."""
    held = Lock.held
    monkeypatch.setattr(Lock, "held", lambda self, peek=None, wait=None: held(self, wait=wait))
    slot = scene.slot(grant(life=10))
    scene.clock.asleep = lambda: setattr(slot, "grant", grant("theirs", 3600, "r-theirs"))
    with scene.locked(), pytest.raises(Temporary):
        scene.keep(slot, renew=Renewal())


@pytest.mark.parametrize(
    ("theirs", "demand"),
    [
        (grant("theirs", AIM - 1), Demand()),
        (grant("old", 3600), Demand(force=True)),
        (grant("theirs", 3600), Demand(rejected="theirs")),
        (grant("", 3600), Demand()),
        (None, Demand()),
    ],
)
def test_what_would_not_do_is_not_taken_while_we_wait(scene: Scene, theirs: Grant | None, demand: Demand) -> None:
    slot, renew = scene.slot(grant(life=10)), Renewal()
    slot.meanwhile = lambda slot: setattr(slot, "grant", theirs)
    with scene.locked(), pytest.raises(Temporary, match="for 60 s"):
        scene.keep(slot, renew=renew, demand=demand)
    assert renew.spent == [] and scene.clock.passed == pytest.approx(60)


@pytest.mark.parametrize("demand", [Demand(force=True), Demand(rejected="old"), Demand(min_ttl=60), Demand()])
def test_a_lock_that_is_never_free_is_no_reason_to_go_without(scene: Scene, demand: Demand) -> None:
    slot, renew = scene.slot(grant(life=45)), Renewal()
    with scene.locked():
        with pytest.raises(Temporary, match=r"another process \(pid \d+\) has held .*id.lock for 60 s"):
            scene.keep(slot, renew=renew, demand=demand)
    assert renew.looked_up == 0 and scene.warnings == []


def test_a_lock_that_is_never_free_is_no_reason_to_refuse_a_token_that_still_serves(scene: Scene) -> None:
    renew = Renewal()
    with scene.locked():
        assert scene.keep(scene.slot(grant(life=200)), renew=renew).value == "old"
    assert len(scene.warnings) == 1 and "has held" in scene.warnings[0] and "ends in 140 s" in scene.warnings[0]
    stuck = Temporary("held for 60 s", hint="try again")
    assert scene.keep(scene.slot(grant(life=200), stuck=stuck), renew=renew).value == "old"
    with pytest.raises(Temporary):
        scene.keep(scene.slot(grant(life=10), stuck=stuck), renew=renew)
    assert renew.spent == [], "nobody renews without the lock"


def test_where_nobody_can_lock_nothing_is_spent(scene: Scene) -> None:
    scene.folder.write_text("a file in the way")
    renew = Renewal()
    with pytest.raises(ConfigError, match="cannot lock the login in memory"):
        scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert renew.spent == []


def test_where_the_first_place_cannot_be_locked_the_journal_is_at_the_next(scene: Scene) -> None:
    (scene.folder / "id.lock").mkdir(parents=True)
    renew = Renewal(GONE)
    for _ in range(2):
        with pytest.raises(LoginRequired):
            scene.keep(scene.slot(grant(life=10)), renew=renew)
    assert renew.spent == ["r"]
    assert sorted(os.listdir(scene.folder / "other")) == ["id.json", "id.lock"]


# ---- several places --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        (None, {}),
        (grant(), {"broken": ConfigError("odd", hint="h")}),
        (grant(life=10, refresh=""), {}),
        (grant(life=10), {"stuck": Temporary("held", hint="h")}),
        (grant(life=10), {"meanwhile": lambda slot: setattr(slot, "grant", None)}),
    ],
)
def test_when_the_first_place_has_nothing_the_second_is_asked(scene: Scene, first: tuple[Any, dict[str, Any]]) -> None:
    held, how = first
    found = scene.keep(scene.slot(held, **how), scene.slot(grant("second"), "elsewhere"), renew=Renewal())
    assert (found.value, found.origin) == ("second", "elsewhere")


def test_the_second_place_is_not_even_looked_at_when_the_first_has_a_token(scene: Scene) -> None:
    second = MemorySlot(grant("second"))
    scene.keep(scene.slot(grant()), second)
    assert second.done == []


def test_when_all_places_are_empty_they_are_named(scene: Scene) -> None:
    with pytest.raises(Unavailable, match=re.escape("no login in here, there")):
        scene.keep(scene.slot(None, "here"), scene.slot(None, "there"))


def test_when_all_places_fail_the_first_failure_is_told_and_the_others_noted(scene: Scene) -> None:
    slots = [
        scene.slot(None, "a"),
        scene.slot(grant(), "b", broken=ConfigError("first", hint="h")),
        scene.slot(grant(life=1, refresh=""), "c"),
    ]
    with pytest.raises(ConfigError, match="first"):
        scene.keep(*slots)
    assert scene.notes == ["b: first", "c: the login in c has ended and has no refresh token"]


def test_what_fails_after_the_first_place_does_not_hide_why_that_one_failed(scene: Scene) -> None:
    def slots(*first: Slot) -> Iterator[Slot]:
        yield from first
        raise ConfigError("two profiles log in to this host", hint="h")

    keeper = Keeper("databricks-cli", scene.world, Demand())
    broken = scene.slot(grant(), broken=Temporary("the first failure", hint="h"))
    with pytest.raises(Temporary, match="the first failure"):
        keeper.fresh(slots(broken), Renewal())
    with pytest.raises(ConfigError, match="two profiles"):
        keeper.fresh(slots(scene.slot(None)), Renewal())


# ---- one renewal -----------------------------------------------------------------------------------------------------


def stale_login(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": grant_fields(Grant(HOST, "old", "r", time.time() - 10))})


def storm(machine: Machine, renew: Callable[[Grant, World], Spend], demand: Demand, count: int = 50) -> list[str]:
    """That many threads, each with a file of its own in hand, ask at once."""
    together, found = threading.Barrier(count), list[str]()

    def ask() -> None:
        together.wait(30)
        slot = OwnSlot(AuthJson(machine.world), Grant(HOST))
        found.append(Keeper("databricks-cli", machine.world, demand).fresh([slot], renew).value)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.parametrize("demand", [Demand(), Demand(rejected="old"), Demand(force=True)])
def test_fifty_threads_with_one_stale_login_renew_it_once(machine: Machine, demand: Demand) -> None:
    stale_login(machine)
    renew = Renewal()
    assert storm(machine, renew, demand) == ["new-1"] * 50
    assert renew.spent == ["r"]
    held = OwnSlot(AuthJson(machine.world), Grant(HOST)).read()
    assert held and (held.access, held.refresh) == ("new-1", "r-1")


def test_without_the_lock_the_same_threads_spend_one_refresh_token_many_times(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""

    @contextmanager
    def never_held(self: Lock, *rest: object, **more: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(locks.Lock, "held", never_held)
    stale_login(machine)
    together, renew = threading.Barrier(10), Renewal()
    renew.during = lambda grant: together.wait(30)
    storm(machine, renew, Demand(), 10)
    assert renew.spent == ["r"] * 10


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
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
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
            out, said = child.communicate(timeout=20)
    finally:
        server.shutdown()
        server.server_close()
    assert (child.returncode, out, said.strip()) == (code, "", "dbx-auth: interrupted")
    assert json.loads(machine.cli_cache.read_text())["tokens"][host]["refresh_token"] == "r-new"
