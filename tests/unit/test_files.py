"""Files that survive: whoever looks, whatever fails, sees the whole old file or the whole new one."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dbx_auth import files, memo
from dbx_auth.errors import ConfigError
from dbx_auth.files import LEFTOVER, Draft, draft, leftovers, make_private, read, unwritable, write_private


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there, alone in its directory."""
    folder = tmp_path / "folder"
    folder.mkdir()
    target = folder / "auth.json"
    target.write_text("old")
    return target


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def beside(target: Path) -> list[str]:
    """What lies in the directory of the file, beside it."""
    return sorted(name for name in os.listdir(target.parent) if name != target.name)


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def failing(number: int, when: Callable[..., bool] = lambda *args: True, real: Any = None) -> Callable[..., Any]:
    """Stands for a system call that fails with this number."""

    def call(*args: Any, **rest: Any) -> Any:
        if when(*args):
            raise OSError(number, os.strerror(number))
        return real(*args, **rest)

    return call


def is_directory(handle: int) -> bool:
    return stat.S_ISDIR(os.fstat(handle).st_mode)


def is_temporary(path: str, *rest: object) -> bool:
    return path.endswith(".tmp")


@contextmanager
def opens(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """The files that are opened meanwhile, each with its flags."""
    real, opened = os.open, {}

    def open_(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        opened[os.fspath(path)] = flags
        return real(path, flags, mode, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_)
        yield opened


# ---- read ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "limit", "found"), [(0, 10, 0), (9, 10, 9), (10, 10, 10), (11, 10, 11), (50, 10, 11)])
def test_no_more_is_read_than_shows_that_it_is_too_much(target: Path, size: int, limit: int, found: int) -> None:
    target.write_bytes(b"x" * size)
    before = handles()
    assert read(str(target), limit) == b"x" * found and handles() == before


def test_what_cannot_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "nothing"), 10)
    with pytest.raises(IsADirectoryError):
        read(str(tmp_path), 10)


def test_a_device_without_an_end_is_read_to_the_limit() -> None:
    assert read("/dev/zero", 100) == bytes(101)


def test_nobody_waits_for_the_other_end_of_a_pipe(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may never come, and whoever put the pipe there may have meant just that."""
    with opens(monkeypatch) as opened:
        read(str(target), 5)
    assert opened[str(target)] & ~os.O_CLOEXEC == os.O_RDONLY | os.O_NONBLOCK
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = handles()
    with pytest.raises(OSError) as caught:
        read(str(pipe), 5)
    assert (caught.value.errno, caught.value.strerror) == (errno.EINVAL, "it is a pipe") and handles() == before


def test_a_pipe_in_place_of_the_file_is_replaced_and_not_waited_for(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opens(monkeypatch) as opened:
        write_private(str(target), b"new")
    assert opened[str(target)] & os.O_NONBLOCK
    target.unlink()
    os.mkfifo(target)
    write_private(str(target), b"new")
    assert target.read_text() == "new" and beside(target) == []


def test_where_the_system_cannot_open_without_waiting_a_file_is_read_all_the_same(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_NONBLOCK")
    assert read(str(target), 5) == b"old"


def test_what_is_read_is_noted_as_it_is_at_that_moment(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memo of a token is good for as long as all of that stays the same."""
    monkeypatch.setattr(memo, "seen", {})
    nothing = tmp_path / "nothing"
    read(str(target), 5)
    for path in (nothing, tmp_path):
        with pytest.raises(OSError):
            read(str(path), 5)
    assert memo.seen == {
        str(target): memo._state(target.stat()),
        str(nothing): memo._state(None),
        str(tmp_path): "?",
    }
    target.write_text("other")
    read(str(target), 5)
    assert memo.seen[str(target)] == "?", "it was one thing and then another"


# ---- for this user alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_a_file_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int) -> None:
    born: list[int] = []
    real_open = os.open

    def open_(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        if flags & os.O_CREAT:
            born.append(mode & ~mask)
        return real_open(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", open_)
    target = tmp_path / "new" / "auth.json"
    with umask(mask):
        write_private(str(target), b"secret")
    assert born == [0o600]
    assert mode(target) == 0o600 and mode(target.parent) == 0o700


def test_no_directory_that_we_make_lets_anybody_else_in(tmp_path: Path) -> None:
    """Who may write to a directory above can put another one in place of ours."""
    with umask(0):
        write_private(str(tmp_path / "a" / "b" / "c" / "auth.json"), b"{}")
        make_private(str(tmp_path / "d" / "e"))
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert sorted(path.name for path in made) == ["a", "b", "c", "d", "e"]
    assert {mode(path) for path in made} == {0o700}


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private(str(tmp_path))
    make_private(str(tmp_path / "new"))
    assert mode(tmp_path) == 0o755 and mode(tmp_path / "new") == 0o700


def test_a_directory_that_somebody_else_makes_at_the_same_time_is_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def made_meanwhile(path: str, mode: int) -> None:
        real(path, mode)
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", made_meanwhile)
    make_private(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_a_drive_that_does_not_exist_is_its_own_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    monkeypatch.setattr(os, "mkdir", failing(errno.ENOENT))
    for drive in ("/", ""):
        with pytest.raises(FileNotFoundError):
            make_private(drive)


def test_a_directory_may_be_named_from_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_private("a/b")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_private(str(tmp_path / "file" / "folder"))


def test_an_open_file_becomes_private_when_it_is_written(target: Path) -> None:
    target.chmod(0o666)
    write_private(str(target), b"secret")
    assert mode(target) == 0o600


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path, target: Path) -> None:
    link = tmp_path / "auth.json"
    link.symlink_to("folder/auth.json")
    write_private(str(link), b"new")
    assert link.is_symlink() and target.read_text() == "new"
    assert os.listdir(tmp_path) == ["auth.json", "folder"] or os.listdir(tmp_path) == ["folder", "auth.json"]
    assert beside(target) == []


def test_a_link_to_nothing_yet_makes_its_target(tmp_path: Path) -> None:
    link = tmp_path / "auth.json"
    link.symlink_to(tmp_path / "later" / "auth.json")
    write_private(str(link), b"new")
    assert link.is_symlink() and (tmp_path / "later" / "auth.json").read_bytes() == b"new"


# ---- one for the other, at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", b"12345" * 100_000])
@pytest.mark.parametrize("size", [None, 0, 1, 100_000])
@pytest.mark.parametrize("allocates", [True, False])
def test_what_is_committed_is_all_there_is_whatever_was_reserved(
    target: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, size: int | None, allocates: bool
) -> None:
    if not allocates:
        monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
    with draft(str(target)) as new:
        if size is not None:
            new.reserve(size)
        assert target.read_text() == "old", "nobody sees it before it is whole"
        new.commit(data)
        assert target.read_bytes() == data
    assert target.read_bytes() == data and mode(target) == 0o600 and beside(target) == []


def test_a_system_that_takes_a_few_bytes_at_a_time_gets_them_all(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:3]))
    write_private(str(target), b"0123456789")
    assert target.read_bytes() == b"0123456789"


def test_a_draft_lies_hidden_beside_the_file_and_is_gone_if_nobody_commits_it(target: Path) -> None:
    with draft(str(target)):
        (name,) = beside(target)
        assert name.startswith(".auth.json-") and name.endswith(".tmp")
        assert mode(target.parent / name) == 0o600
    assert beside(target) == [] and target.read_text() == "old"
    with pytest.raises(ValueError), draft(str(target)) as new:
        new.reserve(10)
        raise ValueError
    assert beside(target) == [] and target.read_text() == "old"


def test_two_drafts_of_one_file_are_in_nobodys_way(target: Path) -> None:
    with draft(str(target)) as first, draft(str(target)) as second:
        second.commit(b"second")
        first.commit(b"first")
    assert target.read_text() == "first" and beside(target) == []


def test_no_handle_stays_open(target: Path) -> None:
    before = handles()
    write_private(str(target), b"new")
    with draft(str(target)):
        pass
    with draft(str(target)) as new:
        new.close()
        new.close()
    assert handles() == before


def test_the_first_handle_of_all_is_closed_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was started without a standard input gets it."""
    closed: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", closed.append)
        patch.setattr(os, "open", lambda *how: 0)
        new = Draft("auth.json", ".auth.json-x.tmp")
        new.open()
        new.close()
        new.close()
    assert closed == [0]


def test_what_is_written_is_on_disk_before_it_is_in_place_and_the_name_after(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_fsync, real_replace, real_close = os.fsync, os.replace, os.close
    drafts: set[int] = set()

    def fsync(handle: int) -> None:
        done.append("directory" if is_directory(handle) else f"file of {os.fstat(handle).st_size} bytes")
        drafts.update([] if is_directory(handle) else [handle])
        real_fsync(handle)

    def replace(source: str, target: str) -> None:
        done.append("in place")
        real_replace(source, target)

    def close(handle: int) -> None:
        done.extend(["closed"] * (handle in drafts))
        drafts.discard(handle)
        real_close(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "close", close)
    with draft(str(target)) as new:
        new.reserve(1000)
        assert done == []
        new.commit(b"12345")
    assert done == ["file of 5 bytes", "closed", "in place", "directory"]


@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_file_for_everybody_is_that_before_it_is_in_place_and_not_before_it_is_whole(
    target: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """A program may be started at any moment, and has to be on the disk with the right to."""
    done: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*how: Any) -> Any:
            done.append(name)
            return real(*how)

        return call

    for name in ("ftruncate", "chmod", "fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    with umask(mask), draft(str(target)) as new:
        assert mode(target.parent / beside(target)[0]) == 0o600
        new.commit(b"#!/bin/sh\n", mode=0o755)
    assert done[:4] == ["ftruncate", "chmod", "fsync", "replace"]
    assert mode(target) == 0o755 and target.read_bytes() == b"#!/bin/sh\n" and beside(target) == []


# ---- room for it -----------------------------------------------------------------------------------------------------


def test_what_is_reserved_is_taken_from_the_disk(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))  # not needed, and nothing that could be lost is written
    with draft(str(target)) as new:
        new.reserve(100_000)
        status = (target.parent / beside(target)[0]).stat()
        assert status.st_size == 100_000 and status.st_blocks * 512 >= 100_000


@pytest.mark.parametrize("why", ["no such call", errno.EOPNOTSUPP, errno.EINVAL])
def test_where_the_system_cannot_allocate_zeros_are_written_and_synced(
    target: Path, monkeypatch: pytest.MonkeyPatch, why: str | int
) -> None:
    if isinstance(why, str):
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", failing(why))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    with draft(str(target)) as new:
        new.reserve(100_000)
        assert (target.parent / beside(target)[0]).read_bytes() == bytes(100_000)
        assert synced == [100_000], "some systems promise the space only then"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_where_there_is_no_room_it_is_said_before_anything_depends_on_it(
    target: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(ConfigError, match="No space left"), draft(str(target)) as new:
        new.reserve(100_000)
    assert target.read_text() == "old" and beside(target) == []


# ---- what can fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lseek", "write", "ftruncate", "chmod", "fsync", "replace", "open"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    before = handles()
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(number, is_temporary, os.open) if name == "open" else failing(number))
        with pytest.raises(ConfigError) as caught, draft(str(target)) as new:
            new.commit(b"new", mode=0o644)
    assert str(caught.value) == f"{target} cannot be written: {os.strerror(number)}"
    assert caught.value.hint == f"make room and allow writing: ls -ld {target.parent}"
    assert isinstance(caught.value.__cause__, OSError)
    assert target.read_text() == "old" and beside(target) == [] and handles() == before
    write_private(str(target), b"new")
    assert target.read_text() == "new", "a clean run works afterwards"


def test_a_close_that_fails_leaves_the_old_file_and_nothing_beside_it(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS says there what it could not write."""
    real = os.close

    def close(handle: int) -> None:
        real(handle)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        with pytest.raises(ConfigError):
            write_private(str(target), b"new")
    assert target.read_text() == "old" and beside(target) == []


def test_a_draft_that_cannot_be_closed_is_no_error_where_nobody_needs_it(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.close

    def close(handle: int) -> None:
        real(handle)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with draft(str(target)):
        monkeypatch.setattr(os, "close", close)
    assert target.read_text() == "old" and beside(target) == []


def test_where_a_directory_cannot_be_opened_the_rename_is_enough(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NTFS keeps a rename by itself."""
    path = str(target)
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        patch.setattr(os, "open", failing(errno.EACCES, lambda path, *rest: os.path.isdir(path), os.open))
        write_private(path, b"new")
    assert target.read_text() == "new" and beside(target) == []


def test_what_cannot_be_read_cannot_be_put_back_and_is_left(tmp_path: Path) -> None:
    (tmp_path / "auth.json").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        write_private(str(tmp_path / "auth.json"), b"new")
    assert os.listdir(tmp_path) == ["auth.json"]


@pytest.mark.parametrize("call", ["open", "fsync"])
@pytest.mark.parametrize("before", ["old", None])
def test_where_the_rename_may_not_last_the_old_file_is_put_back(
    target: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, call: str
) -> None:
    """Else the caller takes the new one for lost, and the next process finds it there."""
    if before is None:
        target.unlink()
    opened = handles()
    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", failing(errno.EIO, is_directory, os.fsync))
        else:
            patch.setattr(os, "open", failing(errno.EIO, lambda path, *rest: path == str(target.parent), os.open))
        with pytest.raises(ConfigError, match="Input/output error"), draft(str(target)) as new:
            new.commit(b"new")
    assert (target.read_text() if target.exists() else None) == before
    assert beside(target) == [] and handles() == opened
    if before:
        assert mode(target) == 0o600


def test_who_is_interrupted_while_the_file_comes_to_be_leaves_none(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal is heard when a call has returned, and before what it returned has a name."""
    real = os.open

    def interrupted(path: str, *how: Any) -> int:
        handle = real(path, *how)
        if not is_temporary(path):
            return handle
        os.close(handle)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_private(str(target), b"new")
    assert target.read_text() == "old" and beside(target) == []


def test_what_is_put_back_is_written_beside_the_file_as_any_other_is(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it can be renamed, and is swept away if we are killed."""
    made: list[dict[str, object]] = []
    real = tempfile.mkstemp

    def mkstemp(**how: Any) -> tuple[int, str]:
        made.append(how)
        return real(**how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO, is_directory, os.fsync))
        patch.setattr(tempfile, "mkstemp", mkstemp)
        with pytest.raises(ConfigError):
            write_private(str(target), b"new")
    assert made == [{"prefix": ".auth.json-", "suffix": ".tmp", "dir": str(target.parent)}]


def test_without_putting_back_a_write_that_failed_would_have_happened(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(files, "_put_back", lambda *rest: None)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, is_directory, os.fsync))
    with pytest.raises(ConfigError):
        write_private(str(target), b"new")
    assert target.read_text() == "new"


def test_where_not_even_that_can_be_done_the_first_failure_is_told(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO, is_directory, os.fsync))
        patch.setattr(tempfile, "mkstemp", failing(errno.EROFS))
        with pytest.raises(ConfigError, match="Input/output error"):
            write_private(str(target), b"new")
    assert target.read_text() in ("old", "new") and beside(target) == []


def test_an_error_without_words_is_told_as_it_is(target: Path) -> None:
    error = unwritable(str(target), OSError("odd"))
    assert str(error) == f"{target} cannot be written: odd"


def test_the_hint_names_the_directory_that_the_file_really_is_in(tmp_path: Path, target: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(target)
    error = unwritable(str(link), OSError(errno.EACCES, "Permission denied"))
    assert str(error) == f"{link} cannot be written: Permission denied"
    assert error.hint == f"make room and allow writing: ls -ld {target.parent}"


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_beside_it(
    target: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_private(str(target), b"new")
    assert target.read_text() == "old" and beside(target) == []


KILLED = """
import os, signal, sys
from dbx_auth import files, memo
real = getattr(os, sys.argv[2])
def die(*args, **rest):
    if sys.argv[3] == "after":
        real(*args, **rest)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], die)
files.write_private(sys.argv[1], b'{"new": 1}')
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_killed_at_any_point_the_file_is_the_old_one_or_the_new_one(target: Path, call: str, when: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), call, when], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert target.read_text() == ('{"new": 1}' if (call, when) == ("replace", "after") else "old")
    left = [target.parent / name for name in beside(target)]
    assert len(left) == (0 if (call, when) == ("replace", "after") else 1)
    assert all(mode(path) == 0o600 for path in left)
    for path in left:
        age(path, LEFTOVER + 60)
    write_private(str(target), b"newer")
    assert beside(target) == [], "the next writer of the file sweeps it away"


# ---- what killed writers leave ---------------------------------------------------------------------------------------


def age(path: Path, seconds: float) -> None:
    status = path.stat()
    os.utime(path, (status.st_atime, status.st_mtime - seconds))


def leave(folder: Path, name: str, seconds: float = 0.0) -> Path:
    path = folder / name
    path.write_text("half")
    age(path, seconds)
    return path


def test_a_leftover_is_an_hour_old_and_of_this_file(target: Path) -> None:
    assert LEFTOVER == 3600
    old = leave(target.parent, ".auth.json-abandon.tmp")
    made = old.stat().st_mtime
    for name in (".auth.json-x.part", ".auth.json.tmp", "auth.json-x.tmp", ".other.json-x.tmp", ".auth.json.lock"):
        os.utime(leave(target.parent, name), (made, made))
    assert leftovers(str(target), made + LEFTOVER) == []
    assert leftovers(str(target), made + LEFTOVER + 0.01) == [str(old)]
    assert leftovers(str(target), made - LEFTOVER * 10) == []


def test_leftovers_are_looked_for_where_the_file_really_is(tmp_path: Path, target: Path) -> None:
    old = leave(target.parent, ".auth.json-abandon.tmp", LEFTOVER * 2)
    link = tmp_path / "link.json"
    link.symlink_to(target)
    assert leftovers(str(link), target.stat().st_mtime) == [str(old)]


def test_where_there_is_no_directory_there_are_no_leftovers(tmp_path: Path) -> None:
    assert leftovers(str(tmp_path / "nowhere" / "auth.json"), 1e12) == []


def test_one_that_vanishes_while_it_is_looked_at_is_no_matter(target: Path) -> None:
    gone = leave(target.parent, ".auth.json-a.tmp", LEFTOVER * 2)
    real = os.scandir

    @contextmanager
    def scandir(folder: str) -> Iterator[Any]:
        with real(folder) as entries:
            found = list(entries)
        gone.unlink()
        yield iter(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        assert leftovers(str(target), target.stat().st_mtime) == []


def test_a_link_among_them_is_swept_and_what_it_points_to_is_not(target: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    link = target.parent / ".auth.json-x.tmp"
    link.symlink_to(victim)
    age(victim, LEFTOVER * 2)
    write_private(str(target), b"new")
    assert link.is_symlink(), "its own age counts"
    os.utime(link, (1, 1), follow_symlinks=False)
    write_private(str(target), b"newer")
    assert beside(target) == [] and victim.read_text() == "theirs"


def test_each_writer_sweeps_what_is_old_and_leaves_what_is_at_work(target: Path) -> None:
    leave(target.parent, ".auth.json-old.tmp", LEFTOVER + 60)
    at_work = leave(target.parent, ".auth.json-new.tmp", LEFTOVER - 60)
    write_private(str(target), b"new")
    assert beside(target) == [at_work.name]


def test_one_that_cannot_be_swept_is_no_reason_not_to_write(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = leave(target.parent, ".auth.json-old.tmp", LEFTOVER + 60)
    monkeypatch.setattr(os, "unlink", failing(errno.EPERM))
    write_private(str(target), b"new")
    assert target.read_text() == "new" and left.exists()


def test_an_age_is_that_of_one_file_beside_another_and_no_clock_is_asked(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps a day must not take the file of a writer at work."""
    at_work = leave(target.parent, ".auth.json-new.tmp")
    monkeypatch.setattr("time.time", lambda: 4e9)
    write_private(str(target), b"new")
    assert at_work.exists()


def test_a_draft_that_is_gone_is_no_error(target: Path) -> None:
    with draft(str(target)):
        (target.parent / beside(target)[0]).unlink()
    assert target.read_text() == "old"


@pytest.mark.parametrize("kind", ["a file", "a link", "a link to nowhere"])
def test_a_draft_never_opens_what_somebody_has_put_where_it_would_be(tmp_path: Path, kind: str) -> None:
    victim, planted = tmp_path / "victim", tmp_path / ".auth.json-00000000.tmp"
    if kind == "a file":
        planted.write_bytes(b"planted")
    else:
        planted.symlink_to(victim)
    if kind == "a link":
        victim.write_bytes(b"precious")
    new = Draft(str(tmp_path / "auth.json"), str(planted))
    with pytest.raises(FileExistsError):
        new.open()
    assert (victim.exists() and victim.read_bytes()) == (kind == "a link" and b"precious")


# ---- whether there is one --------------------------------------------------------------------------------------------


def test_whether_there_is_a_file_is_noted_as_what_is_read_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "seen", {})
    file, gone = tmp_path / "config.toml", tmp_path / "gone"
    file.write_text("x")
    below = file / "nothing can be here"
    assert [files.is_there(str(path)) for path in (file, gone, below)] == [True, False, False]
    assert memo.seen == {str(file): memo._state(file.stat()), str(gone): "", str(below): "?"}
