"""Whose a file or a directory is, and who else can get at it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from dbx_auth import profile as profiles
from dbx_auth.errors import AuthError
from dbx_auth.store import AuthJson, CliCache
from dbx_auth.world import World

from .findings import Finding, as_typed, problem, warning


def stores(world: World) -> list[str]:
    """The files that this is all about."""
    config = os.path.join(world.config_dir, "config.toml")
    return [world.config_file, AuthJson(world).path, CliCache(world).path, config]


def lock_folders(world: World) -> list[str]:
    """The directories that refresh locks, journals and rescued logins lie in."""
    return [
        os.path.join(AuthJson(world).folder, "refresh"),
        os.path.join(CliCache(world).folder, ".dbx-auth"),
        world.runtime_dir,
    ]


def blocked(world: World) -> str:
    """A file of settings whose reading might never end, if there is one."""
    return next((path for path in stores(world) if not is_plain(path)), "")


def is_plain(path: str) -> bool:
    """Whether opening this cannot wait for somebody: it is a file, or it fails at once."""
    try:
        return stat.S_IFMT(os.stat(path).st_mode) in (stat.S_IFREG, stat.S_IFDIR)
    except OSError:
        return True


def sections_of(world: World) -> dict[str, dict[str, str]]:
    """The profile file, empty where it cannot be read: the check of its own says why."""
    with suppress(AuthError):
        return profiles.read(world) if is_plain(world.config_file) else {}
    return {}


def lying_in(folder: str, start: str, end: str = "") -> list[tuple[str, os.stat_result]]:
    """What lies in a directory under such names, sorted; not what is gone by the time it is looked at."""
    found = []
    with suppress(OSError):
        for name in sorted(os.listdir(folder)):
            if name.startswith(start) and name.endswith(end):
                with suppress(OSError):
                    found.append((path := os.path.join(folder, name), os.lstat(path)))
    return found


def folder_of(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def owner(world: World, path: str, status: os.stat_result, is_link: bool = False) -> Iterator[Finding]:
    """A file or directory that somebody else owns, who can put into it what he likes."""
    if is_mine(status):
        return
    shown, typed, who = world.shorten(path), as_typed(world, path), owner_name(status.st_uid)
    what = f"{shown} leads to what belongs to {who}" if is_link else f"{shown} belongs to {who}"
    if os.geteuid() == 0:
        yield problem(f"{what}, and you are root", f"run dbx-auth as {who}, without sudo")
    elif status.st_uid == 0:
        yield warning(f"{what}, and you cannot replace it", f'sudo chown "$(id -un)" {typed}')
    else:
        yield problem(f"{what}, who can change it", f"ls -lL {typed}")


def is_mine(status: os.stat_result) -> bool:
    return os.name == "nt" or status.st_uid == os.geteuid()


def as_owner(status: os.stat_result, command: str) -> str:
    """A command as it has to be typed to be allowed."""
    return command if is_mine(status) or os.geteuid() == 0 else f"sudo {command}"


def owner_name(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"


def seen_by_others(world: World, path: str, status: os.stat_result, *, secret: bool = True) -> Iterator[Finding]:
    """A file that other users may read or, worse, write to."""
    mode = stat.S_IMODE(status.st_mode)
    if os.name == "nt" or not mode & (0o077 if secret else 0o022):
        return
    shown = world.shorten(path)
    fixable = is_mine(status) and not os.path.islink(path) and _is_in_our_hands(world, path)
    fix = making_private(world, path, 0o600) if fixable else None
    real = os.path.realpath(path) if os.path.islink(path) else path
    hint = as_owner(status, f"chmod 600 {as_typed(world, real)}")
    if mode & stat.S_IWOTH:
        yield problem(f"anybody on this machine may write to {shown} (mode {mode:04o})", hint, fix)
    elif mode & stat.S_IWGRP:
        yield warning(f"others may write to {shown} (mode {mode:04o})", hint, fix)
    else:
        yield warning(f"others may read {shown} (mode {mode:04o})", hint, fix)


def _is_in_our_hands(world: World, path: str) -> bool:
    """Whether a file is really where this user alone keeps things; a profile file in /etc may be there for all."""
    folder = os.path.realpath(folder_of(path))
    ours = map(os.path.realpath, (world.home, world.data_dir, world.config_dir, *lock_folders(world)))
    return any(os.path.join(folder, "").startswith(os.path.join(each, "")) for each in ours if each != os.sep)


def making_private(world: World, path: str, mode: int) -> Callable[[], str]:
    def fix() -> str:
        with suppress(FileNotFoundError):  # set aside a moment ago
            return f"chmod {mode:o} {world.shorten(path)}" if make_private(path, mode) else ""
        return ""

    return fix


def make_private(path: str, mode: int) -> bool:
    """Take from others what they may do with a file or directory of ours; a link is not followed."""
    if os.name == "nt":
        return False
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not is_mine(status) or stat.S_IMODE(status.st_mode) == mode:
            return False
        os.fchmod(handle, mode)
        return True
    finally:
        os.close(handle)
