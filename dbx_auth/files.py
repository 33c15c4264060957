"""Files that survive: private from the first byte, and replaced at once or not at all.

A replacement is written beside the file it replaces, put on the disk, and renamed over it. Whoever looks, and whatever
happens to the machine meanwhile, sees the whole old file or the whole new one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import memo
from .errors import ConfigError

LEFTOVER = 3600.0
"""Seconds after which a temporary file belongs to nobody: its writer was killed."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
"""How a file is opened that must not be there yet, not even as a link."""


def read(path: str, limit: int) -> bytes:
    """What a file holds, `limit` bytes and one more at most.

    Raises OSError; also for a pipe, which nobody may ever write to.
    """
    import stat

    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISFIFO(status.st_mode):
                raise OSError(errno.EINVAL, "it is a pipe")
            memo.read(path, status)
            return file.read(limit + 1)
    except FileNotFoundError:
        memo.read(path, None)
        raise
    except OSError:
        memo.unread(path)
        raise


def is_there(path: str) -> bool:
    """Whether there is a file that can be looked at; a memo takes note of that as of one that is read."""
    try:
        memo.read(path, os.stat(path))
    except FileNotFoundError:
        memo.read(path, None)
        return False
    except OSError:
        memo.unread(path)
        return False
    return True


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_private(path: str, data: bytes) -> None:
    """Replace the file at `path` by `data`: at once, on disk when this returns, and for this user alone.

    A symbolic link is followed, so that a dotfile kept elsewhere stays where it is. Raises ConfigError, with the
    old file as it was and nothing left beside it, when that cannot be done.
    """
    with draft(path) as new:
        new.commit(data)


class Draft:
    """A file that is about to take the place of another."""

    def __init__(self, path: str, temporary: str) -> None:
        self._path = path
        self._temporary = temporary
        self._handle = -1
        self._committed = False

    def open(self) -> None:
        """Make the temporary file, which nobody else can read."""
        self._handle = os.open(self._temporary, _NEW, 0o600)

    def reserve(self, size: int) -> None:
        """Take that many bytes of the disk now, so that they are there when something is written that must not be lost.

        Zeros are written where the system cannot allocate (macOS, Windows, some file systems).
        """
        with self._told():
            with suppress(AttributeError, OSError):
                os.posix_fallocate(self._handle, 0, size)
                return
            _write(self._handle, bytes(size))
            os.fsync(self._handle)

    def commit(self, data: bytes, *, mode: int = 0) -> None:
        """Write `data`, and put this file in the place of the other; `mode` is for one that others may read or run.

        Where the system cannot promise that the rename outlives a power cut, the old content is put back.
        """
        with self._told():
            os.lseek(self._handle, 0, os.SEEK_SET)
            _write(self._handle, data)
            os.ftruncate(self._handle, len(data))
            if mode:
                os.chmod(self._temporary, mode)
            os.fsync(self._handle)
            self.close()
            before = _content(self._path)
            os.replace(self._temporary, self._path)
            self._committed = True
            try:
                _sync_directory(os.path.dirname(self._path))
            except OSError:
                _put_back(self._path, before)
                raise

    def close(self) -> None:
        """Let go of the file, which Windows cannot rename while it is open."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)

    def discard(self) -> None:
        """Leave nothing behind, unless this file has taken its place."""
        with suppress(OSError):
            self.close()
        if not self._committed:
            with suppress(OSError):
                os.unlink(self._temporary)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._path, error) from error


@contextmanager
def draft(path: str) -> Iterator[Draft]:
    """A file beside the one at `path`, to be committed in its place; gone at the end if it was not."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f"{_prefix(target)}{os.urandom(4).hex()}{_SUFFIX}")
    new = Draft(target, temporary)
    try:  # before the file is there: who is interrupted in between knows its name
        try:
            make_private(folder)
            new.open()
        except OSError as error:
            raise unwritable(path, error) from error
        # The age of one file beside that of another: a clock that is wrong sweeps nobody's work away.
        for abandoned in leftovers(target, os.stat(temporary).st_mtime):
            with suppress(OSError):
                os.unlink(abandoned)
        yield new
    finally:
        new.discard()


def leftovers(path: str, now: float) -> list[str]:
    """The temporary files of killed writers of `path`, LEFTOVER seconds older than `now` (epoch seconds) or more."""
    target = os.path.realpath(path)
    found = []
    with suppress(OSError), os.scandir(os.path.dirname(target)) as entries:
        for entry in entries:
            if entry.name.startswith(_prefix(target)) and entry.name.endswith(_SUFFIX):
                with suppress(OSError):
                    if now - entry.stat(follow_symlinks=False).st_mtime > LEFTOVER:
                        found.append(entry.path)
    return found


_SUFFIX = ".tmp"


def _prefix(target: str) -> str:
    return f".{os.path.basename(target)}-"


def unwritable(path: str, error: OSError) -> ConfigError:
    folder = os.path.dirname(os.path.realpath(path))
    return ConfigError(
        f"{path} cannot be written: {error.strerror or error}", hint=f"make room and allow writing: ls -ld {folder}"
    )


def make_private(folder: str) -> None:
    """Make a directory, and those above it that are missing, for this user alone; one that is there stays as it is."""
    if not os.path.isdir(folder):
        above = os.path.dirname(folder)
        if above not in ("", folder):  # a drive that does not exist is its own parent
            make_private(above)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb", opener=_at_once) as file:
            return file.read()
    except FileNotFoundError:
        return None


def _put_back(path: str, content: bytes | None) -> None:
    """Undo a rename that may not last; as far as it goes, for the disk is failing."""
    import tempfile

    with suppress(OSError):
        if content is None:
            os.unlink(path)
            return
        handle, temporary = tempfile.mkstemp(prefix=_prefix(path), suffix=_SUFFIX, dir=os.path.dirname(path))
        try:
            _write(handle, content)
        finally:
            os.close(handle)
        os.replace(temporary, path)


def _sync_directory(folder: str) -> None:
    if os.name == "nt":  # pragma: no cover  NTFS journals the rename, and a directory cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
