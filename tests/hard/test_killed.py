"""A command that is killed leaves whole files: at every system call of every write, the old one or the new one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hard import faults
from hard.faults import FAILPOINTS, RENEWALS, WRITERS, Call, Command, Fault, Run, Sweep, Warm, counted, warm
from machine import Machine
from oidc_provider.fixture import OidcProvider

from dbx_auth.sandbox import Login, Request, Sandbox

__all__ = ["warm"]

ALONE = """
import dbx_auth.refresh
dbx_auth.refresh.LOOKS = (0.0,)
"""
"""Believes a refusal at once: nobody else is here who could have been quicker."""

UNBURIED = """
import dbx_auth.journal
dbx_auth.journal.Journal.is_dead = lambda self, refresh: False
"""

UNSWEPT = """
import dbx_auth.files
dbx_auth.files.LEFTOVER = 1e9
"""

IN_PLACE = """
import dbx_auth.files
def commit(self, data):
    with open(self._path, "wb", 0) as file:
        for start in range(0, len(data), 64):
            file.write(data[start : start + 64])
dbx_auth.files.Draft.commit = commit
"""


class Certified:
    """The certified server as the judge of a sweep."""

    def __init__(self, oidc: OidcProvider) -> None:
        self.oidc = oidc
        self.url = oidc.url

    @property
    def log(self) -> list[Request]:
        return [Request("POST", "/oidc/v1/token", 200, "refresh_token")] * self.oidc.grants()["refresh"]

    def add_login(self) -> Login:
        login = self.oidc.login()
        return Login(login["access_token"], login["refresh_token"], 0.0)


def changes(run: Run) -> list[tuple[str, list[str]]]:
    """What a run did to which files."""
    return [(call.name, call.files) for call in run.calls if call.writes]


def unsynced(run: Run, command: Command) -> list[str]:
    """The files that took the place of others, and whose content was not synced before or whose name not after."""
    found = []
    for path in command.files:
        synced = [call for call in run.calls if call.name in ("fsync", "fdatasync")]
        renamed = next(call for call in run.calls if call.name.startswith("rename") and call.files[-1] == path.name)
        before = run.calls[: run.calls.index(renamed)]
        after = run.calls[run.calls.index(renamed) :]
        if not any(call in before and call.files == [f".{path.name}-*.tmp"] for call in synced):
            found.append(f"{path.name}: content")
        if not any(call in after and call.files == [path.parent.name] for call in synced):
            found.append(f"{path.name}: name")
    return found


class Kills(Sweep):
    later = ALONE
    """What runs after the kill are patched with."""

    def problems(self, command: Command, fault: Fault, how: dict[str, Any]) -> Iterator[str]:
        home = command.machine.home
        open_before = faults.open_to_others(home)
        killed, spent = counted(self.sandbox, lambda: command.run(self.warm, fault=fault, **how))
        assert killed.code == -9, killed
        states = {path.name: self.state(command, path) for path in command.files}
        self.states.update(states.values())
        if not {*states.values()} <= {"old", "new"}:
            yield f"left {states}"
            return
        left = faults.leftovers(home)
        if len({*left}) < len(left):
            yield f"left more than one temporary file beside one file: {left}"
        yield from sorted(faults.open_to_others(home) - open_before)
        yield from self.afterwards(command, spent)
        if faults.leftovers(home):
            faults.make_old(home)
            again = self.ready(home).run(self.warm, patch=self.later)
            if again.code != 0 or faults.leftovers(home):
                yield f"the next write left {faults.leftovers(home)} and {again.ended}"

    def afterwards(self, command: Command, spent: int) -> Iterator[str]:
        run = command.run(self.warm, patch=self.later)
        states = {path.name: self.state(command, path) for path in command.files}
        if run.code != 0 or {*states.values()} != {"new"}:
            yield f"the next run {run.ended}, and left {states}"


class KilledRenewals(Kills):
    """A refresh token is good for one use: what comes after a kill depends on whether it was sent."""

    def afterwards(self, command: Command, spent: int) -> Iterator[str]:
        (store,) = command.files
        kept = self.state(command, store) == "new"
        run, sent = counted(self.sandbox, lambda: command.run(self.warm, patch=self.later))
        if spent == 0 or kept:
            if spent + sent != self.posts or not self.is_good(run, store):
                yield f"sent {spent}, then {sent}, and {run.ended}"
            return
        if (run.code, sent) != (4, 1):
            yield f"was in doubt, sent {sent} more and {run.ended}"
        for _ in range(2):
            run, sent = counted(self.sandbox, lambda: command.run(self.warm, patch=self.later))
            if (run.code, sent) != (4, 0):
                yield f"knew that the login had ended, sent {sent} more and {run.ended}"


class KilledAdoption(KilledRenewals):
    """The refresh token was sent before, and what came of it could not be written."""

    posts = 0


class KilledAtARename(KilledRenewals):
    """Once before the request, once after it, and once when all is written."""

    def concerns(self, call: Call) -> bool:
        return call.name.startswith("rename")


@pytest.mark.real
@pytest.mark.parametrize("name", WRITERS)
def test_whoever_is_killed_leaves_the_old_file_or_the_new_one(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    faults.need_strace()
    sweep = Kills(WRITERS[name], machine, sandbox, warm)
    wrong = sweep("SIGKILL")
    assert not wrong, wrong
    assert sweep.states == {"old", "new"} and sweep.points >= 10


@pytest.mark.real
@pytest.mark.parametrize("name", RENEWALS)
def test_a_refresh_that_is_killed_costs_one_login_at_most_and_never_a_file(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    faults.need_strace()
    sweep = KilledRenewals(RENEWALS[name], machine, sandbox, warm)
    wrong = sweep("SIGKILL")
    assert not wrong, wrong
    assert sweep.states == {"old", "new"} and sweep.points >= 20


@pytest.mark.real
@pytest.mark.parametrize("name", RENEWALS)
def test_the_certified_server_says_so_too(name: str, machine: Machine, oidc: OidcProvider, warm: Warm) -> None:
    faults.need_strace()
    sweep = KilledAtARename(RENEWALS[name], machine, Certified(oidc), warm)
    wrong = sweep("SIGKILL")
    assert not wrong, wrong
    assert sweep.states == {"old", "new"} and sweep.points == 3


@pytest.mark.real
@pytest.mark.parametrize("name", RENEWALS)
def test_what_was_put_aside_outlives_who_puts_it_back(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    faults.need_strace()
    sweep = KilledAdoption(faults.put_aside(RENEWALS[name], warm), machine, sandbox, warm)
    wrong = sweep("SIGKILL")
    assert not wrong, wrong
    assert sweep.states == {"old", "new"} and sweep.points >= 20


@pytest.mark.parametrize("name", ["login --with-token", "token, token-cache.json"])
def test_the_same_where_there_is_no_strace(name: str, machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    kind = KilledRenewals if name in RENEWALS else Kills
    sweep = kind((WRITERS | RENEWALS)[name], machine, sandbox, warm)
    wrong = sweep("SIGKILL", by=FAILPOINTS)
    assert not wrong, wrong
    assert sweep.states == {"old", "new"} and sweep.points >= 10


def test_only_what_is_old_is_swept_away(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """A young one may be the work of a process that still lives, and others are not ours."""
    command = faults.another_login(machine, sandbox)
    folder = machine.auth_json.parent
    young = machine.write(folder / ".auth.json-young123.tmp", "")
    old = [machine.write(folder / f".auth.json-{number:08}.tmp", "") for number in range(3)]
    others = [machine.write(folder / name, "") for name in (".other.json-00000000.tmp", "auth.json-00000000.tmp")]
    for path in (*old, *others):
        os.utime(path, (time.time() - 7200,) * 2)
    assert command.run(warm).code == 0
    assert [path for path in (young, *old, *others) if path.exists()] == [young, *others]


@pytest.mark.real
@pytest.mark.parametrize("name", ["login --with-token", *RENEWALS])
def test_a_process_that_was_started_for_it_does_the_same(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    """What the sweeps see in a process that was forked is what a person gets."""
    faults.need_strace()

    def ready(home: Path) -> Command:
        home.mkdir()
        return (WRITERS | RENEWALS)[name](faults.at(home, machine), sandbox)

    forked = ready(machine.home / "forked").run(warm, trace=True)
    command = ready(machine.home / "started")
    started = warm.started(command.machine, *command.argv, stdin=command.stdin)
    assert (forked.code, started.code) == (0, 0), started
    assert changes(forked) == changes(started)


@pytest.mark.real
@pytest.mark.parametrize("name", [*WRITERS, *RENEWALS])
def test_what_takes_the_place_of_a_file_is_on_the_disk_before_and_after(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    """A power cut is not to be had in a test; what outlives one is what was synced (fsync(2)), and in which order."""
    faults.need_strace()
    command = (WRITERS | RENEWALS)[name](machine, sandbox)
    run = command.run(warm, trace=True)
    assert run.code == 0, run
    assert unsynced(run, command) == []


# ---- the negative controls: what happens without what protects ------------------------------------------------------


@pytest.mark.real
def test_a_file_that_is_written_in_place_is_torn(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    sweep = Kills(WRITERS["login --with-token"], machine, sandbox, warm)
    assert "left {'auth.json': 'torn'}" in sweep("SIGKILL", patch=IN_PLACE)


@pytest.mark.real
def test_a_file_that_was_not_synced_is_found_out(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    command = faults.another_login(machine, sandbox)
    run = command.run(warm, trace=True, patch="import os; os.fsync = lambda handle: None")
    assert run.code == 0 and unsynced(run, command) == ["auth.json: content", "auth.json: name"]


@pytest.mark.real
def test_without_a_tombstone_a_spent_refresh_token_is_sent_again_and_again(
    machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    faults.need_strace()
    sweep = KilledAtARename(RENEWALS["token, token-cache.json"], machine, sandbox, warm)
    sweep.later = ALONE + UNBURIED
    assert re.search("knew that the login had ended, sent [1-9]", sweep("SIGKILL"))


@pytest.mark.real
def test_without_the_sweeping_what_was_left_stays(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    sweep = KilledAtARename(RENEWALS["token, auth.json"], machine, sandbox, warm)
    sweep.later = ALONE + UNSWEPT
    assert "the next write left ['.auth.json-*.tmp']" in sweep("SIGKILL")
