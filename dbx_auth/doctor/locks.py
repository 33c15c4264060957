"""The locks, and what renewals left beside them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from dbx_auth import lock
from dbx_auth.store import AuthJson, CliCache
from dbx_auth.world import World

from .access import folder_of, lock_folders, lying_in, owner, seen_by_others, stores
from .findings import Finding, Given, as_typed, counted, kind_of, note, ok, problem, warning


def locks(given: Given) -> Iterator[Finding]:
    """Whether the locks can be had, who has them, and whether they keep other machines out."""
    world = given.world
    tried = [_tried(world, path) for path in _lock_files(world)]
    yield from filter(None, tried)
    if free := tried.count(None):
        yield ok(f"{counted(free, 'lock')} can be had")
    elif not tried:
        yield ok("nobody has taken a lock on this machine yet")
    if os.path.lexists(world.runtime_dir) and not lock.is_ours(world.runtime_dir):
        yield warning(
            f"{world.runtime_dir} is not yours alone, so no lock is put there; logins in a keyring need it",
            f"ls -ld {as_typed(world, world.runtime_dir)}",
        )
    places = {os.path.realpath(folder): folder for folder in map(folder_of, stores(world)[:3])}
    kinds = {folder: lock.filesystem(folder) for folder in places.values()}
    for folder, kind in kinds.items():
        if lock.is_network(kind):
            yield note(
                f"{world.shorten(folder)} is on a file system of the network ({kind}): logins that two machines share "
                "there are not protected from each other",
                'export DBX_AUTH_DATA_DIR="/var/tmp/dbx-auth-$(id -u)"   # a disk of this machine, then dbx-auth login',
            )


def _lock_files(world: World) -> list[str]:
    """The lock files that are there; none is made by looking."""
    named = [os.path.realpath(path) + ".lock" for path in stores(world)]
    named += [os.path.join(file.folder, file.lock_name) for file in (AuthJson(world), CliCache(world))]
    for folder in lock_folders(world):
        named += [path for path, _ in lying_in(folder, "", ".lock")]
    return [path for path in dict.fromkeys(named) if os.path.lexists(path)]


def _tried(world: World, path: str) -> Finding | None:
    """What is wrong with a lock; None where it was had, and given back at once."""
    import filelock

    shown, typed = world.shorten(path), as_typed(world, path)
    if not stat.S_ISREG((status := os.lstat(path)).st_mode):
        return problem(f"the lock {shown} is {kind_of(status.st_mode)}, not a file", f"mv {typed} {typed}.aside")
    attempt = filelock.FileLock(path, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)
    try:
        attempt.acquire(blocking=False)
    except filelock.Timeout:
        return _held(world, path)
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return problem(f"the lock {shown} cannot be had: {why}", f"ls -l {typed}")
    attempt.release()
    return None


def _held(world: World, path: str) -> Finding:
    shown, pid = world.shorten(path), lock.holder(path)
    if not pid:
        return note(f"the lock {shown} is held by another process", f"fuser -v {as_typed(world, path)}")
    name, state = _process(pid)
    who = f"process {pid}{f' ({name})' if name else ''}"
    if state in ("T", "t"):
        return warning(f"the lock {shown} is held by {who}, which is stopped", f"kill -CONT {pid}   # or: kill {pid}")
    return note(f"the lock {shown} is held by {who} at this moment", f"ps -fp {pid}   # if it stays so: kill {pid}")


def _process(pid: int) -> tuple[str, str]:
    """The name and the state of a process, empty where this system does not say (proc(5), stat)."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        before, _, after = file.read(1000).rpartition(")")
        return before.partition("(")[2], after.split()[0]
    return "", ""


def renewals(given: Given) -> Iterator[Finding]:
    """Renewals that were cut off, and logins that wait to be written back."""
    world = given.world
    found: list[Finding] = []
    for folder in lock_folders(world):
        for path, status in lying_in(folder, "", ".rescue"):
            if not stat.S_ISREG(status.st_mode):
                continue
            found.append(
                warning(
                    f"a renewed login waits in {world.shorten(path)}; the next token puts it in its place",
                    "dbx-auth token > /dev/null",
                )
            )
            found += owner(world, path, status)
            found += seen_by_others(world, path, status)
        for path, status in lying_in(folder, "", ".json"):
            if stat.S_ISREG(status.st_mode) and (claims := _claims(path)):
                found.append(
                    note(
                        f"{counted(claims, 'renewal')} cut off, says {world.shorten(path)}; the next token tries again",
                        "dbx-auth status",
                    )
                )
    yield from found or [ok("no renewal was cut off, and no login waits to be written back")]


def _claims(path: str) -> int:
    """How many refresh tokens a journal says were spent without a word of what came of it."""
    import json

    with suppress(OSError, ValueError, RecursionError, AttributeError):
        with open(path, "rb") as file:
            return len(json.loads(file.read(1 << 20)).get("claims") or ())
    return 0
