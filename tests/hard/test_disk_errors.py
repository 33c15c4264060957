"""A disk that fails costs nobody a file or a login: at every system call of every write, with every error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hard import faults
from hard.faults import FAILPOINTS, READING, RENEWALS, WRITERS, Call, Command, Fault, Run, Sweep, Warm, counted, warm
from machine import Machine

from dbx_auth.sandbox import Sandbox

__all__ = ["warm"]

ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS")
KEPT = "the login could not be kept"

A_LITTLE_AT_A_TIME = """
import os
write = os.write
os.write = lambda handle, data: write(handle, bytes(data[:7]))
"""

TAKES_NO_NOTICE = """
import os
fsync = os.fsync
def deaf(handle):
    try:
        fsync(handle)
    except OSError:
        pass
os.fsync = deaf
"""


class Errors(Sweep):
    def problems(self, command: Command, fault: Fault, how: dict[str, Any]) -> Iterator[str]:
        home = command.machine.home
        open_before = faults.open_to_others(home)
        run, spent = counted(self.sandbox, lambda: command.run(self.warm, fault=fault, **how))
        states = {path.name: self.state(command, path) for path in command.files}
        if "mistake of ours" in run.err or "Traceback" in run.err:
            yield f"was not foreseen: it {run.ended}"
        left = faults.leftovers(home)
        if left and fault.call.name not in ("unlink", "unlinkat", "remove"):  # what cannot be deleted stays
            yield f"left {left}"
        yield from sorted(faults.open_to_others(home) - open_before)
        if run.code == 5:
            yield from self.failed(run, spent, states, home.name)
        elif run.code == 0:
            yield from self.went_on(run, spent, states, fault)
        else:
            yield f"it {run.ended}"
        yield from self.afterwards(command, spent, states, fault)
        if left:
            faults.make_old(home)
            self.ready(home).run(self.warm)
            if faults.leftovers(home):
                yield f"the next write left {faults.leftovers(home)}"

    def failed(self, run: Run, spent: int, states: dict[str, str], home: str) -> Iterator[str]:
        """What is wrong with a run that says that it could not."""
        if spent or run.out:
            yield f"sent {spent}, printed {len(run.out)} characters and {run.ended}"
        if not re.search(rf"(~|/{home})/\S+", run.err):
            yield f"named no path: it {run.ended}"
        for name, state in states.items():  # of several files, the first may have been done; then that is told
            if state != "old" and not (state == "new" and f"/{name}" in run.err):
                yield f"left {states}: it {run.ended}"

    def went_on(self, run: Run, spent: int, states: dict[str, str], fault: Fault) -> Iterator[str]:
        """What is wrong with a run that did without."""
        if self.is_vital(fault.call, states) or {*states.values()} != {"new"}:
            yield f"took no notice: left {states} and {run.ended}"

    def is_vital(self, call: Call, states: dict[str, str]) -> bool:
        """Whether a file is not safe without this call: what is in it, and that it takes the place of the other."""
        if call.name == "fsync" and any(re.search(rf"{folder}\W*$", call.text) for folder in self.folders):
            return True
        changes = call.name in ("write", "fsync", "ftruncate", "rename", "replace")
        return changes and any(file.startswith(f".{name}-") for name in states for file in call.files)

    def afterwards(self, command: Command, spent: int, states: dict[str, str], fault: Fault) -> Iterator[str]:
        if fault.what != ERRORS[0] and len({*states.values()}) == 1:  # as it was, or as it should be
            return
        again = command.run(self.warm)
        states = {path.name: self.state(command, path) for path in command.files}
        if again.code != 0 or {*states.values()} != {"new"}:
            yield f"the next run {again.ended}, and left {states}"


class FailedRenewals(Errors):
    def went_on(self, run: Run, spent: int, states: dict[str, str], fault: Fault) -> Iterator[str]:
        (state,) = states.values()
        if spent != self.posts or not faults.is_valid(self.sandbox, run.token):
            yield f"sent {spent}, and {run.ended}"
        elif state == "old" and KEPT not in run.err:
            yield f"did not say that the login was not kept: it {run.ended}"
        elif state not in ("old", "new") or (state == "new" and self.is_vital(fault.call, states)):
            yield f"took no notice: left {states} and {run.ended}"

    def afterwards(self, command: Command, spent: int, states: dict[str, str], fault: Fault) -> Iterator[str]:
        """The next run has the login, and both together have sent one refresh token."""
        (store,) = command.files
        again, sent = counted(self.sandbox, lambda: command.run(self.warm))
        state = self.state(command, store)
        if (again.code, spent + sent, state) != (0, self.posts, "new") or not self.is_good(again, store):
            yield f"sent {spent}, then {sent}, left {state}, and the next run {again.ended}"
        elif {*states.values()} == {"old"} and list(command.machine.home.rglob("*.rescue")):
            yield "what was put aside is back, and still there"


class FailedReads(FailedRenewals):
    def concerns(self, call: Call) -> bool:
        return not call.writes


class FailedReadsOfWriters(Errors):
    def concerns(self, call: Call) -> bool:
        return not call.writes

    def is_vital(self, call: Call, states: dict[str, str]) -> bool:
        return False


class FailedAdoption(FailedRenewals):
    """The refresh token was sent before, and what came of it could not be written."""

    posts = 0


@pytest.mark.real
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fails_leaves_the_old_file(name: str, machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    sweep = Errors(WRITERS[name], machine, sandbox, warm)
    wrong = sweep(*ERRORS)
    assert not wrong, wrong


@pytest.mark.real
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", RENEWALS)
def test_a_disk_that_fails_costs_nobody_a_login(name: str, machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    sweep = FailedRenewals(RENEWALS[name], machine, sandbox, warm)
    wrong = sweep(*ERRORS)
    assert not wrong, wrong


@pytest.mark.real
@pytest.mark.parametrize("name", RENEWALS)
def test_what_was_put_aside_stays_until_it_is_back(name: str, machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    sweep = FailedAdoption(faults.put_aside(RENEWALS[name], warm), machine, sandbox, warm)
    wrong = sweep("ENOSPC", "EIO")
    assert not wrong, wrong


@pytest.mark.real
@pytest.mark.parametrize("name", RENEWALS)
def test_a_file_that_cannot_be_read_costs_nobody_a_login(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    faults.need_strace()
    sweep = FailedReads(RENEWALS[name], machine, sandbox, warm)
    wrong = sweep("EIO", calls=READING)
    assert not wrong, wrong


@pytest.mark.real
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_cannot_be_read_is_told(name: str, machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    sweep = FailedReadsOfWriters(WRITERS[name], machine, sandbox, warm)
    wrong = sweep("EIO", calls="openat" if "share" in name else READING)
    assert not wrong, wrong


@pytest.mark.real
def test_a_token_is_served_whatever_else_cannot_be_read(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    faults.need_strace()
    machine.cached_login(sandbox.url)
    faults.own_store(machine)
    machine.write(machine.config, faults.CONFIG)
    machine.env["DATABRICKS_HOST"] = sandbox.url
    whole = warm.run(machine, "token", trace=True, calls=READING)
    assert whole.token == "cached"
    others = [call for call in whole.calls if machine.cli_cache.name not in call.text]
    assert {machine.auth_json.name, machine.config.name} <= {name for call in others for name in call.files}
    for call in others:
        for what in ("EIO", "EACCES"):
            run = warm.run(machine, "token", fault=Fault(call, what), calls=READING)
            assert (run.code, run.token) == (0, "cached"), f"{what} at {call}: it {run.ended}"


@pytest.mark.parametrize("name", ["login --with-token", "token, token-cache.json"])
def test_the_same_where_there_is_no_strace(name: str, machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    kind = FailedRenewals if name in RENEWALS else Errors
    sweep = kind((WRITERS | RENEWALS)[name], machine, sandbox, warm)
    wrong = sweep("ENOSPC", "EIO", by=FAILPOINTS)
    assert not wrong, wrong


@pytest.mark.parametrize("name", [*WRITERS, *RENEWALS])
def test_a_disk_that_takes_a_little_at_a_time_gets_all(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    """write(2) may take less than it was given, and says so."""
    shapes: list[list[object]] = []
    for patch in ("", A_LITTLE_AT_A_TIME):
        home = machine.home / f"{len(shapes)}"
        home.mkdir()
        command = (WRITERS | RENEWALS)[name](faults.at(home, machine), sandbox)
        assert command.run(warm, patch=patch).code == 0
        shapes.append([faults.shape(path) for path in command.files])
    assert shapes[0] == shapes[1]


@pytest.mark.real
def test_who_takes_no_notice_of_a_failed_fsync_is_found_out(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """The negative control of the tests above: it is that an error is believed that protects."""
    faults.need_strace()
    sweep = Errors(WRITERS["login --with-token"], machine, sandbox, warm)
    wrong = sweep("EIO", patch=TAKES_NO_NOTICE)
    assert "EIO at fsync #1 .auth.json-*.tmp: took no notice: left {'auth.json': 'new'}" in wrong
