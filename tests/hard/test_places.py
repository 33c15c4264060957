"""Places where nothing can be written, or that are not ours: what is there is served, nothing is spent or harmed."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hard import faults
from hard.faults import RENEWALS, WRITERS, Command, Run, Warm, Writer, counted, small_disk, warm
from machine import Machine

from dbx_auth.sandbox import Sandbox
from dbx_auth.tokens import format_expiry

__all__ = ["warm"]

NOBODY = 65534
"""A user with no rights but everybody's."""


UNPREPARED = """
from contextlib import contextmanager
import dbx_auth.store
@contextmanager
def room(self):
    yield None
dbx_auth.store.JsonFile.room = room
"""


# ---- what cannot be written ------------------------------------------------------------------------------------------


class Place:
    """A home where nothing can be written, once `close` was called; commands run as `user` there."""

    def __init__(self, machine: Machine, close: Callable[[], None], user: int) -> None:
        self.machine = machine
        self.close = close
        self.user = user

    def ready(self, renewal: Writer, sandbox: Sandbox) -> Command:
        command = renewal(self.machine, sandbox)
        self.close()
        return command


@pytest.fixture
def read_only_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """A home on a disk that is mounted read-only, as a container has one."""
    with small_disk(tmp_path / "disk") as disk:

        def close() -> None:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        yield Place(Machine(disk, capsys), close, 0)


@pytest.fixture
def home_of_nobody(capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    """The home of a user who may write in it, and nowhere else."""
    faults.need_root("be somebody else")
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    try:
        yield Machine(folder, capsys)
    finally:
        shutil.rmtree(folder)


def given(home: Path, user: int = NOBODY) -> None:
    """Let everything below this directory be that user's."""
    for path in (home, *home.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)


@pytest.fixture
def locked_folders(home_of_nobody: Machine) -> Place:
    """Directories with mode 0500, and files with mode 0400 in them."""

    def close() -> None:
        given(home_of_nobody.home)
        for path in (home_of_nobody.home, *home_of_nobody.home.rglob("*")):
            path.chmod(0o500 if path.is_dir() else 0o400)

    return Place(home_of_nobody, close, NOBODY)


@pytest.fixture
def folders_of_another(home_of_nobody: Machine) -> Place:
    """Directories and files that somebody else has, and everybody may read."""

    def close() -> None:
        given(home_of_nobody.home, 0)
        for path in (home_of_nobody.home, *home_of_nobody.home.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    return Place(home_of_nobody, close, NOBODY)


PLACES = ["read_only_home", "locked_folders", "folders_of_another"]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.mark.real
@pytest.mark.parametrize("place", PLACES, indirect=True)
@pytest.mark.parametrize("renewal", RENEWALS.values(), ids=list(RENEWALS))
def test_an_expired_login_that_cannot_be_kept_is_not_spent(
    renewal: Writer, place: Place, sandbox: Sandbox, warm: Warm
) -> None:
    command = place.ready(renewal, sandbox)
    for _ in range(2):
        run, posts = counted(sandbox, lambda: command.run(warm, user=place.user))
        assert (run.code, run.out, posts) == (5, "", 0), run
        (store,) = command.files
        assert store.name in run.err and "hint: " in run.err
        assert command.is_untouched and faults.leftovers(place.machine.home) == []


@pytest.mark.real
@pytest.mark.parametrize("place", PLACES, indirect=True)
@pytest.mark.parametrize("renewal", RENEWALS.values(), ids=list(RENEWALS))
def test_who_wants_a_token_all_the_same_gets_one_that_is_not_kept(
    renewal: Writer, place: Place, sandbox: Sandbox, warm: Warm
) -> None:
    command = place.ready(renewal, sandbox)
    command = command._replace(argv=(*command.argv, "--ephemeral"))
    run, posts = counted(sandbox, lambda: command.run(warm, user=place.user))
    assert (run.code, posts) == (0, 1) and faults.is_valid(sandbox, run.token), run
    assert "could not be kept" in run.err and command.is_untouched
    again, posts = counted(sandbox, lambda: command.run(warm, user=place.user))
    assert (again.code, posts) == (0, 0) and faults.is_valid(sandbox, again.token), "the session is still alive"


@pytest.mark.real
@pytest.mark.parametrize("place", PLACES, indirect=True)
@pytest.mark.parametrize(("life", "said"), [(3000, ""), (500, ""), (200, "the token was not renewed and ends in")])
def test_a_token_that_is_still_good_is_served(
    life: float, said: str, place: Place, sandbox: Sandbox, warm: Warm
) -> None:
    place.machine.cached_login(sandbox.url, expiry=format_expiry(time.time() + life))
    place.machine.env["DATABRICKS_HOST"] = sandbox.url
    place.close()
    run, posts = counted(sandbox, lambda: warm.run(place.machine, "token", user=place.user))
    assert (run.code, run.token, posts) == (0, "cached", 0)
    assert said in run.err and (life < 600 or run.err == ""), run.err


@pytest.mark.real
@pytest.mark.parametrize("place", PLACES, indirect=True)
@pytest.mark.parametrize("name", [name for name in WRITERS if "first" not in name])
def test_what_cannot_be_written_is_told(name: str, place: Place, sandbox: Sandbox, warm: Warm) -> None:
    command = place.ready(WRITERS[name], sandbox)
    run = command.run(warm, user=place.user)
    assert run.code == 5 and "open this link" not in run.err, run
    assert str(place.machine.home) in run.err and "mistake of ours" not in run.err
    assert command.is_untouched and faults.leftovers(place.machine.home) == []


@pytest.mark.real
def test_without_a_look_beforehand_the_login_is_spent(read_only_home: Place, sandbox: Sandbox, warm: Warm) -> None:
    """The negative control of the tests above: it is that the write is prepared first that protects."""
    command = read_only_home.ready(faults.refresh_of_the_cli_s, sandbox)
    run, posts = counted(sandbox, lambda: command.run(warm, patch=UNPREPARED))
    assert posts == 1 and command.is_untouched, run


@pytest.mark.real
def test_a_file_that_may_not_be_written_to_is_replaced(home_of_nobody: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """Its directory decides (rename(2)): a file with mode 0400 is no reason to lose a login."""
    command = faults.refresh_of_the_cli_s(home_of_nobody, sandbox)
    (store,) = command.files
    store.chmod(0o400)
    given(home_of_nobody.home)
    run, posts = counted(sandbox, lambda: command.run(warm, user=NOBODY))
    assert (run.code, posts, run.err) == (0, 1, "") and faults.is_alive(sandbox, store)
    assert (stat.S_IMODE(store.stat().st_mode), store.stat().st_uid) == (0o600, NOBODY)


@pytest.mark.real
def test_a_file_that_may_not_be_read_is_named(home_of_nobody: Machine, sandbox: Sandbox, warm: Warm) -> None:
    command = faults.refresh_of_the_cli_s(home_of_nobody, sandbox)
    given(home_of_nobody.home)
    (store,) = command.files
    store.chmod(0)
    run, posts = counted(sandbox, lambda: command.run(warm, user=NOBODY))
    assert (run.code, run.out, posts) == (5, "", 0)
    assert "token-cache.json cannot be read: Permission denied" in run.err and str(store) in run.err


# ---- links and what is not ours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WRITERS, *RENEWALS])
def test_a_file_that_is_kept_elsewhere_stays_there(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm, tmp_path: Path
) -> None:
    command = (WRITERS | RENEWALS)[name](machine, sandbox)
    kept = {path: tmp_path / "dotfiles" / path.name for path in command.files}
    for path, target in kept.items():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(target)
        path.symlink_to(target)
    run = command.run(warm)
    assert run.code == 0, run
    for path, target in kept.items():
        assert path.is_symlink() and path.readlink() == target
        assert target.read_bytes() != command.files[path] and stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.joinpath("dotfiles").iterdir()} >= {path.name for path in command.files}
    assert faults.leftovers(machine.home) == faults.leftovers(tmp_path / "dotfiles") == []


@pytest.mark.parametrize("name", [*WRITERS, *RENEWALS])
def test_a_lock_that_leads_to_another_file_is_refused(
    name: str, machine: Machine, sandbox: Sandbox, warm: Warm, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    before = victim.stat()
    writer = (WRITERS | RENEWALS)[name]
    writer(machine, sandbox).run(warm)
    locks = sorted(machine.home.rglob("*.lock"))
    assert locks
    for lock in locks:
        command = writer(machine, sandbox)
        lock.unlink()
        lock.symlink_to(victim)
        run, posts = counted(sandbox, lambda: command.run(warm))  # noqa: B023
        assert (run.code, run.out, posts) == (5, "", 0), f"{lock.name}: {run}"
        assert lock.name in run.err and lock.is_symlink()
        assert victim.read_text() == "precious"
        after = victim.stat()
        assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
        lock.unlink()


@pytest.mark.real
def test_without_that_refusal_another_file_is_written_to(
    machine: Machine, sandbox: Sandbox, warm: Warm, tmp_path: Path
) -> None:
    """The negative control of the test above: it is O_NOFOLLOW that protects (open(2))."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    command = faults.another_login(machine, sandbox)
    Path(f"{machine.auth_json}.lock").symlink_to(victim)
    command.run(warm, patch="import os; os.O_NOFOLLOW = 0")
    assert victim.read_text() != "precious"


def of_the_locks(machine: Machine, name: str) -> Path:
    """The directory for the refresh locks of a store."""
    return machine.auth_json.parent / "refresh" if "auth.json" in name else machine.cli_cache.parent / ".dbx-auth"


def as_a_file(folder: Path, victim: Path) -> None:
    folder.write_text("not a directory")


def as_somebody_s(folder: Path, victim: Path) -> None:
    """Somebody else's directory, in which everybody may write, and with links where ours would be."""
    folder.mkdir()
    folder.chmod(0o777)
    os.chown(folder, NOBODY, NOBODY)
    for number in range(3):
        (folder / f"{number}.lock").symlink_to(victim)


@pytest.mark.real
@pytest.mark.parametrize("occupied", [as_a_file, as_somebody_s])
@pytest.mark.parametrize("name", RENEWALS)
def test_a_place_for_locks_that_is_not_ours_gives_way_to_the_next(
    name: str, occupied: Callable[[Path, Path], None], machine: Machine, sandbox: Sandbox, warm: Warm, tmp_path: Path
) -> None:
    faults.need_root("give a directory to somebody else")
    command = RENEWALS[name](machine, sandbox)
    folder = of_the_locks(machine, name)
    occupied(folder, tmp_path / "victim")
    before = [(path, path.lstat().st_mtime_ns) for path in (folder, *folder.rglob("*"))]
    next_place = tmp_path / "of-this-user"
    run, posts = counted(sandbox, lambda: command.run(warm, place=next_place))
    assert (run.code, posts) == (0, 1) and faults.is_valid(sandbox, run.token), run
    (store,) = command.files
    assert faults.is_alive(sandbox, store)
    assert list(next_place.glob("*.lock")), "no lock was taken at the next place"
    assert stat.S_IMODE(next_place.stat().st_mode) == 0o700 and not faults.open_to_others(next_place)
    assert [(path, path.lstat().st_mtime_ns) for path in (folder, *folder.rglob("*"))] == before


@pytest.mark.real
def test_who_does_not_look_whose_it_is_takes_that_place(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """The negative control of the test above."""
    faults.need_root("give a directory to somebody else")
    command = faults.refresh_of_the_cli_s(machine, sandbox)
    folder = of_the_locks(machine, "token-cache.json")
    as_somebody_s(folder, machine.home / "victim")
    before = set(folder.iterdir())
    assert command.run(warm, patch="import dbx_auth.lock; dbx_auth.lock.is_ours = lambda folder: True").code == 0
    assert set(folder.iterdir()) > before


@pytest.mark.real
def test_a_place_for_locks_that_is_nobody_s_but_anothers_is_refused(
    machine: Machine, sandbox: Sandbox, warm: Warm, tmp_path: Path
) -> None:
    """Where neither place is ours, there is no lock, and without one nothing is spent."""
    faults.need_root("give a directory to somebody else")
    command = faults.refresh_of_the_cli_s(machine, sandbox)
    of_the_locks(machine, "token-cache.json").write_text("not a directory")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    os.chown(theirs, NOBODY, NOBODY)
    run, posts = counted(sandbox, lambda: command.run(warm, place=theirs))
    assert (run.code, run.out, posts) == (5, "", 0) and str(theirs) in run.err
    assert list(theirs.iterdir()) == [] and command.is_untouched


# ---- what others may read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WRITERS, *RENEWALS])
def test_nothing_is_open_to_others_at_any_moment(name: str, machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """Whatever the umask says: the modes with which files and directories are made are ours alone."""
    faults.need_strace()
    command = (WRITERS | RENEWALS)[name](machine, sandbox)
    for folder in (".databricks", ".local", ".config"):
        if not any(folder in str(path) for path in command.files):
            shutil.rmtree(machine.home / folder, ignore_errors=True)
    open_before = faults.open_to_others(machine.home)
    run = command.run(warm, trace=True, umask=0, place=machine.home / "place")
    assert run.code == 0, run
    modes = created(run)
    assert len(modes) >= 3 and {path for path, mode in modes if mode & 0o077} == set(), modes
    assert faults.open_to_others(machine.home) - open_before == set()


def created(run: Run) -> list[tuple[str, int]]:
    """What was made or given other rights, and the mode in the system call."""
    found = []
    for call in run.calls:
        mode = re.search(r", (0[0-7]*)$", call.text)
        makes = "O_CREAT" in call.text or call.name in ("mkdir", "mkdirat", "chmod", "fchmod", "fchmodat")
        if makes and mode and not call.result.startswith("-1"):
            found.append((str(call), int(mode[1], 8)))
    return found


CARELESS = """
import os
import dbx_auth.files
dbx_auth.files.make_private = lambda folder: os.makedirs(folder, exist_ok=True)
"""


@pytest.mark.real
def test_a_directory_made_with_no_care_is_found_out(machine: Machine, sandbox: Sandbox, warm: Warm) -> None:
    """The negative control of the test above."""
    faults.need_strace()
    run = faults.first_login(machine, sandbox).run(warm, trace=True, umask=0, patch=CARELESS)
    assert any(mode & 0o077 for _, mode in created(run))
