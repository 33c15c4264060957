"""The locks that keep two processes from spending the same thing: who waits, for how long, where, and what is said."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.far_side import Clock, is_locked

from dbx_auth import lock as locks
from dbx_auth.errors import ConfigError, Temporary
from dbx_auth.lock import LOCK_WAIT, NETWORK, PAUSE, PEEK, Lock, beside, filesystem, holder, is_network, is_ours
from dbx_auth.world import World

WHAT = "the login"


class Told:
    """A world under a clock of its own, and all that was told in it."""

    def __init__(self) -> None:
        self.clock = Clock(asleep=self.not_for_ever)
        self.warned: list[str] = []
        self.details: list[str] = []
        self.waited: list[tuple[str, float]] = []
        self.world = self.clock.into(
            World({}, "/nonexistent", warn=self.warned.append, detail=self.details.append, waiting=self.wait)
        )

    def not_for_ever(self) -> None:
        assert len(self.clock.sleeps) < 5000, "it never gives up"

    def wait(self, what: str, seconds: float) -> AbstractContextManager[None]:
        self.waited.append((what, seconds))
        return nullcontext()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(World, "runtime_dir", property(lambda world: str(tmp_path / "run")))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("there is a clock of its own, and somebody slept"))
    return Told()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the lock is, first choice."""
    return str(tmp_path / "first" / "id.lock")


@pytest.fixture
def second(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "id.lock")


@contextmanager
def held(path: str, pid: str | None = None) -> Iterator[None]:
    """Somebody else holds the lock; the kernel tells open files apart, not processes."""
    Path(path).parent.mkdir(exist_ok=True, parents=True, mode=0o700)
    with open(path, "w") as file:
        file.write(str(os.getpid()) if pid is None else pid)
        file.flush()
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def let_go(path: str, told: Told, after: int) -> AbstractContextManager[None]:
    """Somebody else holds the lock until we have slept so many times."""
    other = held(path)

    @contextmanager
    def until() -> Iterator[None]:
        other.__enter__()
        told.clock.asleep = lambda: other.__exit__(None, None, None) if len(told.clock.sleeps) == after else None
        yield

    return until()


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def opening(number: int, *paths: str) -> Callable[..., int]:
    """Stands for `os.open`: none of these can be opened."""
    real = os.open

    def open_(path: Any, flags: int, *args: Any, **rest: Any) -> int:
        if os.fspath(path) in paths:
            raise OSError(number, os.strerror(number), path)
        return real(path, flags, *args, **rest)

    return open_


def locking(number: int, *paths: str) -> Callable[..., None]:
    """Stands for `fcntl.flock`: none of these can be locked."""
    real = fcntl.flock

    def flock(file: int, operation: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}") in paths:
            raise OSError(number, os.strerror(number))
        real(file, operation)

    return flock


# ---- one at a time ---------------------------------------------------------------------------------------------------


def test_a_lock_is_held_inside_the_block_and_nowhere_else(told: Told, path: str) -> None:
    before = handles()
    one = Lock(told.world, WHAT, [path, path + "2"])
    assert one.path == path, "the best place, until there is a reason for another"
    with one.held() as found:
        assert found is None and is_locked(path)
    assert not is_locked(path) and handles() == before
    assert told.clock.sleeps == [] and told.waited == [] and told.warned == []
    assert told.details == [f"locked {path}"] and (one.path, one.what) == (path, WHAT)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Temporary("x", hint="y")])
def test_whatever_happens_inside_it_is_let_go(told: Told, path: str, error: Any) -> None:
    one = Lock(told.world, WHAT, [path])
    with pytest.raises(type(error) if isinstance(error, Exception) else error), one.held():
        raise error
    assert not is_locked(path)
    with one.held():
        assert is_locked(path)


def test_a_lock_that_cannot_be_let_go_is_no_error(told: Told, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be done under it is done, and the kernel frees it when the process ends."""
    import filelock

    real = filelock.FileLock.release

    def release(lock: Any) -> None:
        real(lock)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filelock.FileLock, "release", release)
    with Lock(told.world, WHAT, [path]).held():
        pass
    assert not is_locked(path)


def test_who_holds_it_may_take_it_again_and_the_last_exit_lets_go(told: Told, path: str) -> None:
    one = Lock(told.world, WHAT, [path])
    with one.held():
        with one.held(lambda: pytest.fail("nobody waits")) as found, one.held():
            assert found is None
        assert is_locked(path), "the first block is not over"
        with pytest.raises(ValueError), one.held():
            raise ValueError
        assert is_locked(path)
    assert not is_locked(path)
    assert told.details == [f"locked {path}"], "once"
    with one.held():
        assert is_locked(path), "and the next time it is taken anew"


def test_two_objects_are_two_holders(told: Told, path: str) -> None:
    """What serves one thread must not let another one in by accident."""
    with Lock(told.world, WHAT, [path]).held(), pytest.raises(Temporary), Lock(told.world, WHAT, [path]).held():
        pytest.fail("two are inside")
    assert not is_locked(path)


@pytest.mark.parametrize("lock", [True, False])
def test_threads_exclude_each_other(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch, lock: bool) -> None:
    """With its negative control: where nothing is locked they do meet."""
    if not lock:
        monkeypatch.setattr(fcntl, "flock", lambda file, operation: None)
    inside, most = 0, 0
    together = threading.Barrier(4)

    def work() -> None:
        nonlocal inside, most
        together.wait(10)
        with Lock(World({}, str(tmp_path)), WHAT, [path]).held():
            inside += 1
            most = max(most, inside)
            time.sleep(0.02 if lock else 0.5)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most == 1) is lock


HOLDER = """
import sys
from dbx_auth.lock import Lock
from dbx_auth.world import World
with Lock(World({}, sys.argv[1]), "it", [sys.argv[2]]).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(path: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is told to stop, or killed."""
    argv = [sys.executable, "-c", HOLDER, os.path.dirname(path), path]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout and child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


def test_a_process_that_holds_it_is_named_and_one_that_is_killed_holds_nothing(told: Told, path: str) -> None:
    with another_process(path) as child:
        with pytest.raises(Temporary, match=rf"\(pid {child.pid}\)"), Lock(told.world, WHAT, [path]).held():
            pytest.fail("two are inside")
        told.clock.asleep = lambda: pytest.fail("nobody has to wait")
        child.send_signal(signal.SIGKILL)
        child.wait()
        with Lock(told.world, WHAT, [path]).held():
            assert holder(path) == os.getpid()


# ---- waiting ---------------------------------------------------------------------------------------------------------


def test_who_waits_too_long_is_told_the_path_and_the_process(told: Told, path: str) -> None:
    assert LOCK_WAIT == 60
    before = handles()
    with held(path), pytest.raises(Temporary) as caught, Lock(told.world, WHAT, [path, path + "2"]).held():
        pytest.fail("two are inside")
    assert str(caught.value) == f"another process (pid {os.getpid()}) has held {path} for 60 s"
    assert caught.value.hint == f"try again; if it stays so, end that process: kill {os.getpid()}"
    assert told.clock.passed == pytest.approx(60)
    assert told.waited == [("waiting for another process to finish with the login", 60.0)]
    assert not os.path.exists(path + "2"), "somebody holds it: that is no reason to go elsewhere"
    assert handles() == before


def test_a_process_that_did_not_sign_is_not_named(told: Told, path: str) -> None:
    with held(path, pid=""), pytest.raises(Temporary) as caught, Lock(told.world, WHAT, [path]).held():
        pytest.fail("two are inside")
    assert str(caught.value) == f"another process has held {path} for 60 s"
    assert caught.value.hint == "try again; if it stays so, end that process"


def test_the_tries_come_at_random_so_that_many_do_not_try_in_step(
    told: Told, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float]] = []
    real = random.uniform

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return real(low, high)

    monkeypatch.setattr(random, "uniform", uniform)
    with held(path), pytest.raises(Temporary), Lock(told.world, WHAT, [path]).held():
        pytest.fail("two are inside")
    assert set(asked) == {PAUSE} == {(0.025, 0.075)}
    *sleeps, last = told.clock.sleeps
    assert all(0.025 <= seconds <= 0.075 for seconds in sleeps) and 0 < last <= 0.075
    assert len(set(sleeps)) > 100


@pytest.mark.parametrize("seconds", [0.0, 0.01, 2.5])
def test_who_says_how_long_waits_that_long(told: Told, path: str, seconds: float) -> None:
    with held(path), pytest.raises(Temporary, match=f"for {seconds:.0f} s$"):
        with Lock(told.world, WHAT, [path]).held(wait=seconds):
            pytest.fail("two are inside")
    assert told.clock.passed == pytest.approx(seconds)
    assert told.waited == [("waiting for another process to finish with the login", seconds)]
    assert (told.clock.sleeps == []) is (seconds == 0)


def test_who_has_no_time_left_does_not_wait(told: Told, path: str) -> None:
    with held(path), pytest.raises(Temporary, match="for 0 s$"), Lock(told.world, WHAT, [path]).held(wait=-2.5):
        pytest.fail("two are inside")
    assert told.clock.sleeps == [] and told.waited == [("waiting for another process to finish with the login", 0.0)]


def test_without_waiting_a_lock_that_is_free_is_taken(told: Told, path: str) -> None:
    with Lock(told.world, WHAT, [path]).held(wait=0.0):
        assert is_locked(path)


def test_the_time_to_wait_is_asked_when_it_is_needed(told: Told, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_WAIT", 3.0)
    with held(path), pytest.raises(Temporary, match="for 3 s$"), Lock(told.world, WHAT, [path]).held():
        pytest.fail("two are inside")


@pytest.mark.parametrize("after", [1, 2, 50])
def test_what_is_let_go_while_we_wait_is_taken_at_the_next_try(told: Told, path: str, after: int) -> None:
    before = handles()
    with let_go(path, told, after), Lock(told.world, WHAT, [path]).held() as found:
        assert found is None and len(told.clock.sleeps) == after
        assert is_locked(path) and holder(path) == os.getpid()
    assert told.details == [f"locked {path}"] and handles() == before


def test_no_try_waits_inside_the_library_where_nobody_looks_at_the_time(
    told: Told, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    asked: list[object] = []
    real = filelock.FileLock.acquire

    def acquire(lock: Any, *, blocking: bool) -> Any:
        asked.append(blocking)
        assert blocking is False
        return real(lock, blocking=blocking)

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with let_go(path, told, 2), Lock(told.world, WHAT, [path]).held():
        assert asked == [False] * 3


def test_what_is_let_go_in_the_last_moment_is_taken(told: Told, path: str) -> None:
    with let_go(path, told, 1), Lock(told.world, WHAT, [path]).held(wait=0.02):
        assert is_locked(path) and told.clock.passed == pytest.approx(0.02)


# ---- looking meanwhile -----------------------------------------------------------------------------------------------


def test_while_we_wait_we_look_at_once_and_then_every_second(told: Told, path: str) -> None:
    looks: list[float] = []
    with held(path), pytest.raises(Temporary):
        with Lock(told.world, WHAT, [path]).held(lambda: looks.append(told.clock.passed)):
            pytest.fail("two are inside")
    assert looks[0] == 0.0 and PEEK == 1.0
    assert all(1.0 <= later - sooner <= 1.075 for sooner, later in zip(looks, looks[1:], strict=False))
    assert 56 <= len(looks) <= 60


@pytest.mark.parametrize("news", ["a token", "", 0])
def test_what_is_found_is_handed_over_and_nothing_is_held(told: Told, path: str, news: object) -> None:
    before, found_at = handles(), 2.0
    one = Lock(told.world, WHAT, [path])
    with held(path):
        with one.held(lambda: news if told.clock.passed >= found_at else None) as found:
            assert found == news and found is not None
        assert found_at <= told.clock.passed < found_at + 1.2
        assert holder(path) == os.getpid() and told.details == []
    assert not is_locked(path) and handles() == before
    with one.held(lambda: "not asked") as found:
        assert found is None and is_locked(path), "the next time it is free, and taken"


def test_what_is_found_at_once_costs_no_wait(told: Told, path: str) -> None:
    with held(path), Lock(told.world, WHAT, [path]).held(lambda: "news") as found:
        assert found == "news" and told.clock.sleeps == []


def test_a_lock_that_is_free_is_taken_without_a_look(told: Told, path: str) -> None:
    with Lock(told.world, WHAT, [path]).held(lambda: pytest.fail("looked")):
        assert is_locked(path)


def test_a_look_that_fails_is_the_caller_s(told: Told, path: str) -> None:
    def look() -> str:
        raise ConfigError("the file is damaged", hint="h")

    before = handles()
    with held(path), pytest.raises(ConfigError, match="damaged"), Lock(told.world, WHAT, [path]).held(look):
        pytest.fail("two are inside")
    assert not is_locked(path) and handles() == before


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_lock_file_is_private_names_its_holder_and_stays(told: Told, path: str) -> None:
    before = os.umask(0)
    try:
        with Lock(told.world, WHAT, [path]).held():
            assert Path(path).read_text() == f"{os.getpid()}\n"
            first = os.stat(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(first.st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    with Lock(told.world, WHAT, [path]).held():
        assert os.stat(path).st_ino == first.st_ino, "a lock file that goes away can have two holders"
    assert os.path.exists(path)


def test_the_name_of_the_holder_replaces_what_was_there(told: Told, path: str) -> None:
    Path(path).parent.mkdir(mode=0o700)
    Path(path).write_text("9" * 500)
    with Lock(told.world, WHAT, [path]).held():
        assert Path(path).read_text() == f"{os.getpid()}\n"


def test_who_cannot_sign_holds_it_all_the_same(told: Told, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = handles()
    for name in ("write", "ftruncate"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *args: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
            with Lock(told.world, WHAT, [path]).held():
                assert is_locked(path)
    assert handles() == before


def test_who_has_let_go_is_not_named_in_place_of_a_program_that_does_not_sign(told: Told, path: str) -> None:
    """The Databricks CLI is one; a hint to kill whoever has our old number by now would hit the wrong one."""
    with Lock(told.world, WHAT, [path]).held():
        pass
    assert Path(path).read_bytes() == b""
    with open(path) as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(Temporary) as caught, Lock(told.world, WHAT, [path]).held():
            pytest.fail("two are inside")
    assert "pid" not in str(caught.value) and "kill" not in caught.value.hint


@pytest.mark.parametrize(
    ("content", "pid"),
    [
        (b"%d\n" % 2**30, None),  # no system has that many
        (b"7" * 5000, None),
        (b"", None),
        (b"0\n", None),
        (b"pid 7", None),
        (b"\xff\xfe", None),
        (b"-1\n", None),
        (b"\n\n", None),
    ],
)
def test_the_holder_is_a_process_or_nobody(tmp_path: Path, content: bytes, pid: int | None) -> None:
    (tmp_path / "x.lock").write_bytes(content)
    assert holder(str(tmp_path / "x.lock")) == pid


@pytest.mark.parametrize("end", [b"\n", b""])
def test_the_holder_is_the_process_that_signed(tmp_path: Path, end: bytes) -> None:
    (tmp_path / "x.lock").write_bytes(b"%d" % os.getpid() + end)
    assert holder(str(tmp_path / "x.lock")) == os.getpid()


@pytest.mark.parametrize(
    ("error", "pid"), [(None, 1), (PermissionError("somebody else's"), 1), (ProcessLookupError("dead"), None)]
)
def test_a_holder_that_has_died_is_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None, pid: int | None
) -> None:
    """One of a container may have the number 1."""
    asked: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        asked.append((pid, number))
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    (tmp_path / "x.lock").write_bytes(b"1\n")
    assert holder(str(tmp_path / "x.lock")) == pid
    assert asked == [(1, 0)], "a signal that only asks"


def test_where_even_that_signal_ends_a_process_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.lock").write_bytes(b"%d\n" % 2**30)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        patch.setattr(os, "kill", lambda *args: pytest.fail("it is dead now"))
        found = holder(str(tmp_path / "x.lock"))
    assert found == 2**30


def test_of_a_file_that_is_not_there_nobody_is_the_holder(tmp_path: Path) -> None:
    assert holder(str(tmp_path / "x.lock")) is None and holder(str(tmp_path)) is None


def test_where_a_lock_covers_the_content_nobody_signs(told: Told, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second handle on a file that Windows has locked could not write to it."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with Lock(told.world, WHAT, [path]).held():
            content = Path(path).read_bytes()
    assert content == b""


def test_a_link_in_its_place_is_refused_and_what_it_points_to_is_left(told: Told, tmp_path: Path, path: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    Path(path).parent.mkdir(mode=0o700)
    for points_to in (victim, tmp_path / "not there yet"):
        Path(path).unlink(missing_ok=True)
        Path(path).symlink_to(points_to)
        with pytest.raises(ConfigError, match="symbolic link"), Lock(told.world, WHAT, [path, path + "2"]).held():
            pytest.fail("nobody may get here")
    assert victim.read_text() == "theirs" and not (tmp_path / "not there yet").exists()
    assert not os.path.exists(path + "2"), "somebody is at work here: nobody goes elsewhere"


def test_a_link_that_appears_after_the_lock_was_taken_is_not_written_through(
    told: Told, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    real = fcntl.flock

    def flock(file: int, operation: int) -> None:
        real(file, operation)
        if operation & fcntl.LOCK_EX and not os.path.islink(path):
            os.unlink(path)
            os.symlink(victim, path)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        patch.setattr(os, "fstat", lambda handle, real=os.fstat: real(os.open(victim, os.O_RDONLY)))
        with Lock(told.world, WHAT, [path]).held():
            pass
    assert victim.read_text() == "theirs"


# ---- where -----------------------------------------------------------------------------------------------------------

HERE_NOBODY = [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR]
NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]


def elsewhere(told: Told, path: str, second: str, why: str) -> None:
    """Check that the second place is taken, and that this is said once."""
    for number in range(3):
        one = Lock(told.world, WHAT, [path, second])
        with one.held():
            assert is_locked(second) and one.path == second
            assert stat.S_IMODE(os.stat(os.path.dirname(second)).st_mode) == 0o700
            with pytest.raises(Temporary), Lock(told.world, WHAT, [path, second]).held(wait=0.1):
                pytest.fail("whoever comes the same way waits there")
        said = f"locked at another place, which other machines do not see: {path}: {why}"
        assert told.warned == [said], "as lock files stay, the second time is known by its file"
        assert told.details == [f"locked {second}"] * (number + 1)


@pytest.mark.parametrize("number", HERE_NOBODY)
def test_where_no_file_can_be_the_next_place_is_taken(
    told: Told, path: str, second: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    Path(path).parent.mkdir()
    Path(path).touch()
    monkeypatch.setattr(os, "open", opening(number, path))
    elsewhere(told, path, second, os.strerror(number))


@pytest.mark.parametrize("number", NO_LOCKS)
def test_where_there_are_no_locks_the_next_place_is_taken(
    told: Told, path: str, second: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", locking(number, path))
    elsewhere(told, path, second, os.strerror(number))


def test_where_a_file_is_in_the_way_of_the_directory_the_next_place_is_taken(
    told: Told, path: str, second: str
) -> None:
    Path(path).parent.write_text("a file")
    elsewhere(told, path, second, "the directory is not ours alone")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EROFS, errno.EACCES])
def test_where_a_directory_cannot_be_made_the_next_place_is_taken(
    told: Told, path: str, second: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.mkdir

    def mkdir(folder: str, mode: int) -> None:
        if folder == os.path.dirname(path):
            raise OSError(number, os.strerror(number))
        real(folder, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    elsewhere(told, path, second, os.strerror(number))


def test_where_a_directory_has_the_name_the_next_place_is_taken(told: Told, path: str, second: str) -> None:
    Path(path).mkdir(parents=True)
    elsewhere(told, path, second, os.strerror(errno.EISDIR))


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs"])
def test_on_a_file_system_of_the_network_the_next_place_is_taken(
    told: Told, tmp_path: Path, path: str, second: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 8:1 / / rw - {kind} x rw\n")  # also of the other place: that one is of this machine
    monkeypatch.setattr(locks, "filesystem", lambda folder: filesystem(folder, str(mounts)))
    elsewhere(told, path, second, f"it is on a file system of the network ({kind})")
    assert not os.path.exists(path)


def test_on_a_file_system_of_this_machine_the_first_place_is_taken(
    told: Told, tmp_path: Path, path: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 8:1 / / rw - nfs x rw\n2 1 8:1 / {tmp_path}/first rw - ext4 x rw\n")
    monkeypatch.setattr(locks, "filesystem", lambda folder: filesystem(folder, str(mounts)))
    with Lock(told.world, WHAT, [path, second]).held():
        assert is_locked(path) and told.warned == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ESTALE])
def test_an_error_that_others_may_not_meet_is_no_reason_to_go_elsewhere(
    told: Told, path: str, second: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Two processes, of which one locks here and the other there, exclude nobody."""
    monkeypatch.setattr(os, "open", opening(number, path))
    with pytest.raises(ConfigError) as caught, Lock(told.world, WHAT, [path, second]).held():
        pytest.fail("nobody may get here")
    assert str(caught.value) == f"cannot lock the login: {path}: {os.strerror(number)}"
    assert caught.value.hint == f"make the directory writable: ls -ld {os.path.dirname(path)}"
    assert not os.path.exists(second)


def test_a_library_that_cannot_lock_is_no_reason_to_go_without(
    told: Told, path: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    def cannot(self: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "_acquire", cannot)
    with pytest.raises(ConfigError, match="does not appear to support flock"):
        with Lock(told.world, WHAT, [path, second]).held():
            pytest.fail("nobody may get here")


def test_a_lock_that_is_only_a_file_is_never_taken(told: Told, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would put one there where flock is missing; a killed process would leave it for ever."""
    monkeypatch.setattr(fcntl, "flock", locking(errno.ENOSYS, path))
    with pytest.raises(ConfigError, match="not implemented"), Lock(told.world, WHAT, [path]).held():
        pytest.fail("nobody may get here")


def test_where_only_the_last_place_will_do_each_before_it_is_named_with_its_reason(
    told: Told, path: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = path + "3"
    monkeypatch.setattr(os, "open", opening(errno.EROFS, path, second))
    with Lock(told.world, WHAT, [path, second, third]).held():
        assert is_locked(third)
    reasons = f"{path}: Read-only file system; {second}: Read-only file system"
    assert told.warned == [f"locked at another place, which other machines do not see: {reasons}"]


def test_where_no_place_will_do_each_is_named_with_its_reason(
    told: Told, path: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", opening(errno.EROFS, path))
    Path(second).parent.mkdir()
    Path(second).parent.chmod(0o777)
    before = handles()
    with pytest.raises(ConfigError) as caught, Lock(told.world, WHAT, [path, second]).held():
        pytest.fail("nobody may get here")
    reasons = f"{path}: Read-only file system; {second}: the directory is not ours alone"
    assert str(caught.value) == f"cannot lock the login: {reasons}"
    assert caught.value.hint == f"make the directory writable: ls -ld {os.path.dirname(path)}"
    assert told.warned == told.details == [] and told.clock.sleeps == [] and handles() == before


def test_the_place_that_all_homes_share_is_made_and_looked_at_before_it_is_used(
    told: Told, path: str, second: str
) -> None:
    one = Lock(told.world, WHAT, [second, path])
    with one.held():
        assert one.path == second
    assert stat.S_IMODE(os.stat(os.path.dirname(second)).st_mode) == 0o700
    os.chmod(os.path.dirname(second), 0o770)
    with one.held():
        assert one.path == path and is_locked(path) and not is_locked(second)
    assert told.warned == [
        f"locked at another place, which other machines do not see: {second}: the directory is not ours alone"
    ]


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only"), OSError("Read-only")])
def test_where_its_directory_cannot_be_made_that_is_the_reason(
    told: Told, path: str, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def mkdir(folder: str, mode: int) -> None:
        raise error

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(ConfigError) as caught, Lock(told.world, WHAT, [path]).held():
        pytest.fail("nobody may get here")
    assert str(caught.value) == f"cannot lock the login: {path}: Read-only"


def test_a_lock_among_the_files_of_others_takes_their_directory_as_it_is(told: Told, path: str) -> None:
    """It is where the store is, and who may write there needs no lock to do harm."""
    Path(path).parent.mkdir()
    Path(path).parent.chmod(0o775)
    with Lock(told.world, WHAT, [path], among=True).held():
        assert is_locked(path)


def test_a_directory_of_locks_alone_is_nobody_elses(told: Told, path: str, second: str) -> None:
    Path(path).parent.mkdir()
    Path(path).parent.chmod(0o775)
    elsewhere(told, path, second, "the directory is not ours alone")


def test_the_lock_lies_beside_what_it_guards_however_that_is_spelled(told: Told, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to("store")
    real = str(tmp_path / "store")
    expected = (
        os.path.join(real, "x.lock"),
        os.path.join(tmp_path, "run", hashlib.sha256(real.encode()).hexdigest()[:16] + "-x.lock"),
    )
    for spelled in ("store", "link", "link/../store/."):
        assert beside(str(tmp_path / spelled), "x.lock", told.world) == expected
    others = {beside(folder, name, told.world) for folder in ("/a", "/b", "/b\udcff") for name in ("x", "y")}
    assert len({second for _, second in others}) == 6, "what guards another store is another lock"


# ---- whose directory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "ours"), [(0o700, True), (0o755, True), (0o500, True), (0o770, False), (0o702, False), (0o1777, False)]
)
def test_a_directory_is_ours_alone_where_nobody_else_may_write(tmp_path: Path, mode: int, ours: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    assert is_ours(str(folder)) is ours
    folder.chmod(0o700)


def test_a_link_or_a_file_or_nothing_is_no_directory_of_ours(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").touch(mode=0o600)
    assert is_ours(str(tmp_path / "folder"))
    assert [is_ours(str(tmp_path / name)) for name in ("link", "file", "nothing")] == [False] * 3


@pytest.mark.parametrize(
    ("owner", "above", "ours"), [(1000, 0, True), (0, 0, True), (1001, 0, False), (0, 1000, False), (1001, 1001, True)]
)
def test_a_directory_is_ours_or_of_whom_its_parent_is(
    monkeypatch: pytest.MonkeyPatch, owner: int, above: int, ours: bool
) -> None:
    """In /tmp anybody may have made it; whoever has the parent can replace it anyway."""
    asked: list[str] = []

    def status(path: str, uid: int) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(st_uid=uid, st_mode=stat.S_IFDIR | 0o700)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "lstat", lambda path: status(path, owner))
    monkeypatch.setattr(os, "stat", lambda path: status(path, above))
    assert is_ours("/tmp/dbx-auth-1000") is ours
    assert asked == ["/tmp/dbx-auth-1000", "/tmp"]


def test_where_nobody_has_a_number_the_profile_of_the_user_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = str(tmp_path / "nothing")
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        ours = is_ours(nothing)
    assert ours is True


# ---- which file system -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*sorted(NETWORK), "fuse.sshfs", "fuse.gcsfuse"])
def test_a_file_system_of_the_network_is_one(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize("kind", ["", "ext4", "tmpfs", "overlay", "xfs", "btrfs", "fuse", "fuseblk", "apfs", "nfsd"])
def test_any_other_is_of_this_machine(kind: str) -> None:
    assert not is_network(kind)


def test_the_common_ones_are_known() -> None:
    assert {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "gpfs", "afs"} <= NETWORK


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /home rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2
24 23 0:22 / /home/me/local rw - xfs /dev/sdb1 rw
25 22 0:23 / /homes rw - btrfs /dev/sdc rw
26 22 0:24 / /mnt/a\\040b rw - cifs //server/share rw
27 22 0:25 / /twice rw - tmpfs none rw
28 27 0:26 / /twice rw - fuse.sshfs host: rw
30 22 0:28 / /BoX rw - lustre fs rw
29 22 0:27 / /odd\udcff rw - 9p share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/etc", "ext4"),
        ("/home", "nfs4"),
        ("/home/you/.databricks", "nfs4"),
        ("/home/me/local", "xfs"),
        ("/home/me/local/x", "xfs"),
        ("/home/me/locals", "nfs4"),
        ("/homes/x", "btrfs"),
        ("/homework", "ext4"),
        ("/BoX/x", "lustre"),
        ("/Bo/x", "ext4"),
        ("/mnt/a b/x", "cifs"),
        ("/twice/x", "fuse.sshfs"),
        ("/odd\udcff/x", "9p"),
    ],
)
def test_the_innermost_mount_says_the_kind(tmp_path: Path, path: str, kind: str) -> None:
    for turn in (1, -1):  # but for the two at one point, in any order
        mounts = tmp_path / "mountinfo"
        lines = MOUNTS.splitlines(keepends=True)
        text = "".join(lines if path.startswith("/twice") else lines[::turn])
        mounts.write_text(text, encoding="utf-8", errors="surrogateescape")
        assert filesystem(path, str(mounts)) == kind


def test_a_link_is_on_the_file_system_of_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to("far")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 8:1 / / rw - ext4 x rw\n2 1 0:2 / {tmp_path}/far rw - nfs x rw\n")
    assert filesystem(str(tmp_path / "near"), str(mounts)) == "nfs"


def test_where_the_system_does_not_say_no_kind_is_known(tmp_path: Path) -> None:
    assert filesystem("/", str(tmp_path / "nothing")) == ""
    (tmp_path / "empty").touch()
    assert filesystem("/", str(tmp_path / "empty")) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="mountinfo")
def test_this_very_system_says_it() -> None:
    assert filesystem("/proc/self") == "proc"
