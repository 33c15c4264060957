"""The points at which a renewal turns: how long it waits, which token is good enough, whose endpoint it asks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from machine import HOST
from unit.far_side import Clock, MemorySlot

from dbx_auth.errors import AuthError, LoginRequired, Temporary
from dbx_auth.lock import Lock
from dbx_auth.refresh import Keeper, Spend
from dbx_auth.store import Grant
from dbx_auth.tokens import AIM, Demand
from dbx_auth.world import World

UP = 100.0
"""Seconds for which the machine has been up: a monotonic clock does not begin when we do."""


class Stage:
    """A clock, a login, and a server that gives new-1, new-2 …, or fails as `failures` say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.clock.passed = UP
        self.warnings: list[str] = []
        self.asked_for: list[Grant] = []
        self.spent: list[str] = []
        self.failures: list[AuthError] = []
        self.meanwhile: Callable[[Grant], object] = lambda spent: None

    def grant(self, access: str, life: float, refresh: str = "r") -> Grant:
        return Grant(HOST, access, refresh, self.clock.now() + life)

    def slot(self, grant: Grant, **how: Any) -> MemorySlot:
        return MemorySlot(grant, self.folder, **how)

    def renew(self, wanted: Grant, world: World) -> Spend:
        self.asked_for.append(wanted)
        return self.spend

    def spend(self, grant: Grant, budget: float) -> Grant:
        self.spent.append(grant.refresh)
        self.meanwhile(grant)
        if self.failures:
            raise self.failures.pop(0)
        return self.grant(f"new-{len(self.spent)}", 3600, f"r-{len(self.spent)}")

    def token(self, *slots: MemorySlot) -> str:
        world = self.clock.into(World({}, "/nonexistent", warn=self.warnings.append))
        return Keeper("databricks-cli", world, Demand()).fresh(slots, self.renew).value


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "refresh")


def test_however_long_the_machine_has_been_up_nobody_waits_longer_than_a_minute(stage: Stage) -> None:
    slot = stage.slot(stage.grant("old", 10))
    with Lock(World({}, "/nonexistent"), "it", [slot.locks[0]]).held(), pytest.raises(Temporary, match="for 60 s$"):
        stage.token(slot)
    assert stage.clock.passed == pytest.approx(UP + 60)


@pytest.mark.parametrize(("shared", "life", "wait"), [(False, 10, 60.0), (True, 10, 60.0), (True, AIM + 1, 0.0)])
def test_the_store_s_own_lock_is_waited_for_as_long(stage: Stage, shared: bool, life: float, wait: float) -> None:
    slot = stage.slot(stage.grant("old", life), shared=shared)
    assert stage.token(slot) == "new-1" and slot.waits == [wait]


def test_for_both_locks_together_nobody_waits_longer(stage: Stage) -> None:
    slot = stage.slot(stage.grant("old", 10))
    with ExitStack() as other:
        other.enter_context(Lock(World({}, "/nonexistent"), "it", [slot.locks[0]]).held())
        stage.clock.asleep = lambda: other.close() if stage.clock.passed >= UP + 20 else None
        assert stage.token(slot) == "new-1"
    (wait,) = slot.waits
    assert wait == pytest.approx(60 - (stage.clock.passed - UP)) and 39 < wait <= 40


def test_the_endpoint_is_that_of_the_login_as_it_is_stored(stage: Stage) -> None:
    stored = stage.grant("old", 10)
    assert stage.token(stage.slot(stored)) == "new-1"
    assert stage.asked_for == [stored]


@pytest.mark.parametrize(("life", "adopted"), [(AIM, True), (AIM - 0.01, False)])
def test_what_somebody_else_renewed_is_adopted_if_it_lives_as_long_as_is_asked_for(
    stage: Stage, life: float, adopted: bool
) -> None:
    theirs = stage.grant("theirs", life, "r-theirs")
    slot = stage.slot(stage.grant("old", 10), meanwhile=lambda slot: setattr(slot, "grant", theirs))
    assert stage.token(slot) == ("theirs" if adopted else "new-1")
    assert stage.spent == ([] if adopted else ["r-theirs"])


def test_who_loses_twice_takes_what_the_second_winner_has(stage: Stage) -> None:
    gone = LoginRequired("invalid_grant", hint="h")
    winners = {"r": stage.grant("dead", -10, "r-1"), "r-1": stage.grant("theirs", 3600, "r-2")}
    slot = stage.slot(stage.grant("old", -10))
    stage.failures = [gone, gone]
    stage.meanwhile = lambda spent: setattr(slot, "grant", winners[spent.refresh])
    assert stage.token(slot) == "theirs"
    assert stage.spent == ["r", "r-1"]


def test_who_is_served_although_the_server_failed_a_moment_ago_is_told_so(stage: Stage) -> None:
    slot = stage.slot(stage.grant("old", 200))
    stage.failures = [Temporary("the server is busy", hint="h")]
    assert stage.token(slot) == stage.token(slot) == "old"
    assert stage.warnings == [
        "the token was not renewed and ends in 200 s: the server is busy",
        "the token was not renewed and ends in 200 s: the last try failed a moment ago",
    ]


def test_a_login_with_two_names_is_asked_for_once_and_another_one_for_itself(stage: Stage) -> None:
    busy, other = Temporary("busy", hint="h"), Temporary("busy, too", hint="h")
    login, twin = stage.slot(stage.grant("old", 10)), stage.slot(stage.grant("old", 10))
    stage.failures = [busy, other]
    with pytest.raises(Temporary) as caught:
        stage.token(login, twin)
    assert caught.value is busy and stage.spent == ["r"]
    stage.spent.clear()
    stage.failures = [busy]
    assert stage.token(login, stage.slot(stage.grant("another", 10, "r-another"))) == "new-2"
    assert stage.spent == ["r", "r-another"]
