"""The locks that every process of a machine takes before it spends, or rewrites, what others have too.

They are flock and LockFileEx, through the library `filelock`: the kernel frees them when their holder dies, so none is
ever stale. A lock file stays where it is, because two processes could each hold one of a name that was deleted.

There are two kinds, always taken in this order: the refresh lock of one identity, held while the network is asked, and
the store lock of one file, held for as long as it takes to read and to replace it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from .errors import AuthError, ConfigError, Temporary
from .files import make_private, read
from .world import World

if TYPE_CHECKING:
    import filelock

LOCK_WAIT = 60.0
"""Seconds to wait for another process; a refresh takes at most 40, so a longer wait means that it hangs."""

PAUSE = (0.025, 0.075)
"""Seconds between two tries, at random, so that two hundred waiting processes do not try in step."""

PEEK = 1.0
"""Seconds between two looks at whether what we wait for is there already."""

NETWORK = frozenset("9p afs ceph cifs gfs2 glusterfs gpfs lustre nfs nfs4 smb3 smbfs".split())
"""File systems on which a lock may not keep other machines out, or not even other processes."""

# What says that nobody can lock at this place, rather than that somebody does.
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_NO_FILES_HERE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT}

Found = TypeVar("Found")


class Lock:
    """A lock that can be had at the first of `paths` where there can be any; `what` is what it guards.

    Unless it lies `among` the files of others, its directory is one that we make, and has to be ours. The thread that
    holds a lock may take it again. An object serves one thread.
    """

    def __init__(self, world: World, what: str, paths: Sequence[str], *, among: bool = False) -> None:
        self.world = world
        self.among = among
        self.what = what
        self.paths = tuple(paths)
        self.path = self.paths[0]
        self._depth = 0

    @contextmanager
    def held(
        self, peek: Callable[[], Found | None] = lambda: None, wait: float | None = None
    ) -> Iterator[Found | None]:
        """Hold the lock, and yield None; or yield what `peek` found while we waited, and hold nothing.

        Raises Temporary after `wait` seconds (LOCK_WAIT), ConfigError where no lock can be had at all. Nobody goes on
        without one: a refresh token that two processes spend ends the login.
        """
        if self._depth:
            with self._deeper():
                yield None
            return
        lock, found = self._acquired(peek, LOCK_WAIT if wait is None else max(0.0, wait))
        if lock is None:
            yield found
            return
        try:
            with self._deeper():
                yield None
        finally:
            _sign(self.path, b"")
            with suppress(OSError):  # what was done under it is done, and the kernel frees it when we end
                lock.release()

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _acquired(
        self, peek: Callable[[], Found | None], wait: float
    ) -> tuple[filelock.BaseFileLock | None, Found | None]:
        why: list[str] = []
        for path in self.paths:
            if unfit := self._unfit(path):
                why.append(f"{path}: {unfit}")
                continue
            is_new = not os.path.exists(path)
            try:
                lock, found = self._acquired_at(path, peek, wait)
            except (OSError, NotImplementedError) as error:
                why.append(f"{path}: {getattr(error, 'strerror', None) or error}")
                if getattr(error, "errno", None) in _NO_LOCKS_HERE | _NO_FILES_HERE:
                    continue
                break
            if lock:
                self.path = path
                _sign(path, b"%d\n" % os.getpid())
                if why and is_new:  # once on this machine, as lock files stay
                    self.world.warn(f"locked at another place, which other machines do not see: {'; '.join(why)}")
                self.world.detail(f"locked {path}")
            return lock, found
        raise ConfigError(
            f"cannot lock {self.what}: {'; '.join(why)}",
            hint=f"make the directory writable: ls -ld {os.path.dirname(self.paths[0])}",
        )

    def _acquired_at(
        self, path: str, peek: Callable[[], Found | None], wait: float
    ) -> tuple[filelock.BaseFileLock | None, Found | None]:
        import random

        import filelock

        make_private(os.path.dirname(path))
        lock = filelock.FileLock(path, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)
        with suppress(filelock.Timeout):
            lock.acquire(blocking=False)
            return lock, None
        now = self.world.monotonic()
        deadline, look = now + wait, now
        with self.world.waiting(f"waiting for another process to finish with {self.what}", wait):
            while now < deadline:
                if now >= look:
                    if (found := peek()) is not None:
                        return None, found
                    look = now + PEEK
                self.world.sleep(min(random.uniform(*PAUSE), deadline - now))  # noqa: S311  nothing secret
                with suppress(filelock.Timeout):
                    lock.acquire(blocking=False)
                    return lock, None
                now = self.world.monotonic()
        raise self._busy(path, wait)

    def _unfit(self, path: str) -> str:
        """Why a lock at this path would not keep others out, or others could meddle with it; else an empty string."""
        folder = os.path.dirname(path)
        shared = folder == self.world.runtime_dir
        if not shared and is_network(kind := filesystem(folder)):
            return f"it is on a file system of the network ({kind})"
        if self.among and not shared:
            return ""
        try:
            make_private(folder)
        except OSError as error:
            return error.strerror or str(error)
        return "" if is_ours(folder) else "the directory is not ours alone"

    def _busy(self, path: str, wait: float) -> AuthError:
        pid = holder(path)
        who = f"another process (pid {pid})" if pid else "another process"
        return Temporary(
            f"{who} has held {path} for {wait:.0f} s",
            hint=f"try again; if it stays so, end that process{f': kill {pid}' if pid else ''}",
        )


def beside(folder: str, name: str, world: World) -> tuple[str, str]:
    """Where a lock of this name may be: in `folder`, which is on the disk of the store that it guards, so that whoever
    shares the one shares the other; else in the place that every process of this user has."""
    import hashlib

    folder = os.path.realpath(folder)
    other = f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}-{name}"
    return os.path.join(folder, name), os.path.join(world.runtime_dir, other)


def is_ours(folder: str) -> bool:
    """Whether a directory is this user's, or its parent's owner's, and no link, and nobody else may write to it."""
    if os.name == "nt":  # pragma: no cover  there it lies in a profile that is the user's own
        return True
    import stat

    try:
        status, above = os.lstat(folder), os.stat(os.path.dirname(folder))
    except OSError:
        return False
    ours = status.st_uid in (os.geteuid(), above.st_uid)
    return ours and stat.S_ISDIR(status.st_mode) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def is_network(kind: str) -> bool:
    return kind in NETWORK or kind.startswith("fuse.")


def filesystem(path: str, mounts: str = "/proc/self/mountinfo") -> str:
    """The type of the file system that `path` is on, empty where this system does not say (proc(5), mountinfo)."""
    target, best, kind = os.path.realpath(path), "", ""
    with suppress(OSError), open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            mount, _, rest = line.partition(" - ")
            point = mount.split()[4].replace("\\040", " ")
            inside = target == point or target.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):  # of two at one point, the later covers the earlier
                best, kind = point, rest.split()[0]
    return kind


def holder(path: str) -> int | None:
    """The process that wrote itself into this lock file, None where that cannot be told, or it has died since."""
    with suppress(OSError, ValueError, OverflowError):
        pid = int(read(path, 19))
        if pid > 0 and _is_alive(pid):
            return pid
    return None


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # signal 0 would end it there
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def _sign(path: str, name: bytes) -> None:
    if sys.platform == "win32":  # the lock covers the content there
        return
    with suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.ftruncate(handle, os.write(handle, name))
        finally:
            os.close(handle)
