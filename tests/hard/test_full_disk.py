"""A full disk costs nobody a login: a refresh token is spent only where there is room for its successor."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hard import faults
from hard.faults import RENEWALS, Run, Warm, Writer, counted, small_disk, warm
from machine import Machine

from dbx_auth.sandbox import Sandbox
from dbx_auth.tokens import format_expiry

__all__ = ["warm"]
pytestmark = pytest.mark.real

PAGE = 4096

UNRESERVED = """
import dbx_auth.files
dbx_auth.files.Draft.reserve = lambda self, size: None
"""

FILLS_MEANWHILE = """
import os
import dbx_auth.world
ask = dbx_auth.world.Http.__call__
def ask_and_fill(self, method, url, **rest):
    answer = ask(self, method, url, **rest)
    if method == "POST":
        handle = os.open(os.path.expanduser("~/downloads"), os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(handle, bytes(4096)):
                pass
        except OSError:
            pass
    return answer
dbx_auth.world.Http.__call__ = ask_and_fill
"""
"""Somebody else takes all the room there is while the request is out."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def home(disk: Path, capsys: pytest.CaptureFixture[str]) -> Machine:
    """A machine whose home is on that disk."""
    return Machine(disk, capsys)


def free(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def fill(disk: Path, pages: int = 0) -> None:
    """Leave so many pages of the disk free."""
    with open(disk / "downloads", "wb", 0) as file:
        file.write(bytes(free(disk) - pages * PAGE))
    assert free(disk) == pages * PAGE


def on_nearly_full(
    machine: Machine, pages: int, renewal: Writer, sandbox: Sandbox, warm: Warm, patch: str = ""
) -> tuple[Run, int, bool]:
    """How a renewal ended with so many free pages, what it sent, and whether the store is as it was; if it is not, the
    refresh token in it is the newest."""
    disk = machine.home
    home = disk / str(pages)
    home.mkdir()
    command = renewal(faults.at(home, machine), sandbox)
    fill(disk, pages)
    run, posts = counted(sandbox, lambda: command.run(warm, patch=patch))
    untouched, (store,) = command.is_untouched, command.files
    assert faults.leftovers(home) == []
    assert untouched or (faults.is_valid(sandbox, run.token) and faults.is_alive(sandbox, store))
    shutil.rmtree(home)
    (disk / "downloads").unlink()
    return run, posts, untouched


@pytest.mark.parametrize("renewal", RENEWALS.values(), ids=list(RENEWALS))
def test_an_expired_login_on_a_full_disk_is_not_spent(
    renewal: Writer, home: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    command = renewal(home, sandbox)
    fill(home.home)
    for _ in range(2):
        run, posts = counted(sandbox, lambda: command.run(warm))
        assert (run.code, run.out, posts) == (5, "", 0), run
        (store,) = command.files
        assert store.name in run.err and "No space left on device" in run.err and "hint: " in run.err
        assert command.is_untouched and faults.leftovers(home.home) == []
    (home.home / "downloads").unlink()
    run, posts = counted(sandbox, lambda: command.run(warm))
    assert (run.code, posts) == (0, 1) and faults.is_valid(sandbox, run.token)
    assert faults.is_alive(sandbox, store)


def test_without_the_reserved_room_the_login_is_spent(home: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """The negative control of the two tests around it: it is the room taken before that protects."""
    lost = 0
    for pages in range(8):
        run, posts, untouched = on_nearly_full(home, pages, faults.refresh_of_the_cli_s, sandbox, warm, UNRESERVED)
        lost += posts == 1 and untouched
    assert lost > 0


@pytest.mark.parametrize("renewal", RENEWALS.values(), ids=list(RENEWALS))
def test_with_little_room_a_login_is_renewed_and_kept_or_left_alone(
    renewal: Writer, home: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    """With each number of free pages: for a file and not for two, for both and not for what is written about them."""
    codes = []
    for pages in range(36):
        run, posts, untouched = on_nearly_full(home, pages, renewal, sandbox, warm)
        codes.append(run.code)
        if run.code == 0:
            assert posts == 1 and not untouched, run
        else:
            assert (run.code, run.out, posts, untouched) == (5, "", 0, True), run
    assert codes[0] == 5 and codes[-1] == 0 and codes == sorted(codes, reverse=True)


def test_room_that_goes_while_the_request_is_out_was_ours(home: Machine, sandbox: Sandbox, warm: Warm) -> None:
    command = faults.refresh_of_the_cli_s(home, sandbox)
    run, posts = counted(sandbox, lambda: command.run(warm, patch=FILLS_MEANWHILE))
    assert (run.code, posts, run.err) == (0, 1, "") and faults.is_valid(sandbox, run.token)
    (store,) = command.files
    assert faults.is_alive(sandbox, store)


def test_without_the_reserved_room_it_is_gone(home: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """The negative control of the test above."""
    command = faults.refresh_of_the_cli_s(home, sandbox)
    run, posts = counted(sandbox, lambda: command.run(warm, patch=UNRESERVED + FILLS_MEANWHILE))
    assert posts == 1 and command.is_untouched
    assert run.code == 0 and "could not be kept" in run.err, "the token that was got is still handed out"


def test_a_token_that_is_still_good_needs_no_room(home: Machine, sandbox: Sandbox, warm: Warm) -> None:
    home.env["DATABRICKS_HOST"] = sandbox.url
    for life, said in ((3000, ""), (500, ""), (200, "the token was not renewed and ends in")):
        home.cached_login(sandbox.url, expiry=format_expiry(time.time() + life))
        fill(home.home)
        run, posts = counted(sandbox, lambda: warm.run(home, "token"))
        assert (run.code, run.token, posts) == (0, "cached", 0) and said in run.err and bool(said) == bool(run.err)
        (home.home / "downloads").unlink()


@pytest.mark.parametrize("writer", [faults.another_login, faults.shared_login])
def test_a_login_on_a_full_disk_sends_nobody_to_the_browser(
    writer: Writer, home: Machine, sandbox: Sandbox, warm: Warm
) -> None:
    command = writer(home, sandbox)
    fill(home.home)
    asked = len(sandbox.log)
    run = command.run(warm)
    assert (run.code, run.out) == (5, "") and "No space left on device" in run.err
    assert "open this link" not in run.err and len(sandbox.log) == asked
    assert command.is_untouched and faults.leftovers(home.home) == []
