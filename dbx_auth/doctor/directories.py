"""The directories that the files are in: whose they are, who may put files there, and whether there is room."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from dbx_auth.store import CliCache
from dbx_auth.world import World

from .access import as_owner, folder_of, is_mine, lock_folders, making_private, owner
from .findings import PROBLEM, WARNING, Finding, Given, as_typed, kind_of, note, ok, problem, size_of, warning

LOW_ON_SPACE = 1 << 20
"""Bytes that a disk should have left, for a login to be written."""

OUR_DIRECTORIES = ("DBX_AUTH_DATA_DIR", "DBX_AUTH_CONFIG_DIR", "DBX_AUTH_CACHE_DIR")


def directories(given: Given) -> Iterator[Finding]:
    """Where the files are: whose they are, who else may put files there, and whether there is room."""
    world = given.world
    found: list[Finding] = []
    seen: set[str] = set()
    missing: list[str] = []
    private = [world.data_dir, os.path.dirname(CliCache(world).path), *lock_folders(world)]
    for path in (*private, world.config_dir, world.cache_dir, folder_of(world.config_file), world.home):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            if os.path.lexists(path):
                found += _directory(world, path, private=path in private)
            else:
                missing.append(path)
    found += _cannot_be_made(world, missing)
    yield from found
    if not any(finding.level in (WARNING, PROBLEM) for finding in found):
        there = [path for path in (world.data_dir, os.path.dirname(CliCache(world).path)) if os.path.isdir(path)]
        names = " and ".join(world.shorten(path) for path in there)
        yield ok(f"{names}: yours, and can be written to" if names else "nothing is kept on this machine yet")


def _directory(world: World, path: str, *, private: bool) -> Iterator[Finding]:
    shown, typed = world.shorten(path), as_typed(world, path)
    try:
        status = os.stat(path)
        is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError as error:
        yield problem(f"{shown} cannot be looked at: {error.strerror}", f"ls -ld {typed}")
        return
    if is_link and private:
        yield note(f"{shown} is a link to {world.shorten(os.path.realpath(path))}")
    if not stat.S_ISDIR(status.st_mode):
        yield problem(f"{shown} is {kind_of(status.st_mode)}, not a directory", f"mv {typed} {typed}.aside")
        return
    if private or status.st_uid != 0:  # the profile file may be in /tmp or /etc
        yield from owner(world, path, status, is_link)
    mode = stat.S_IMODE(status.st_mode)
    ours = private or path in (world.config_dir, world.cache_dir)
    fixable = ours and not is_link and is_mine(status) and _is_ours_alone(world, path, mode)
    fix = making_private(world, path, 0o700 if private else mode & 0o755) if fixable else None
    hint = as_owner(status, f"chmod {'700' if private else 'go-w'} {typed}")
    if os.name == "nt":
        pass
    elif mode & stat.S_IWOTH and (private or not mode & stat.S_ISVTX):
        yield problem(f"anybody on this machine may put files into {shown} (mode {mode:04o})", hint, fix)
    elif mode & stat.S_IWGRP and (private or not mode & stat.S_ISVTX):
        yield warning(f"others may put files into {shown} (mode {mode:04o})", hint, fix)
    elif mode & 0o077 and private:
        yield warning(f"others may look into {shown} (mode {mode:04o})", hint, fix)
    if private and not os.access(path, os.W_OK | os.X_OK):
        yield problem(f"{shown} cannot be written to: nothing that is renewed can be kept there", f"ls -ld {typed}")
    elif private:
        yield from _room(world, path)


def _cannot_be_made(world: World, missing: list[str]) -> Iterator[Finding]:
    """Directories that are not there yet, and could not be made."""
    closed: dict[str, str] = {}
    for path in missing:
        above = os.path.abspath(path)
        while not os.path.lexists(above) and os.path.dirname(above) != above:
            above = os.path.dirname(above)
        if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
            closed.setdefault(above, path)
    for above, path in closed.items():
        yield warning(
            f"{world.shorten(path)} cannot be made: {world.shorten(above)} cannot be written to",
            f"ls -ld {as_typed(world, above)}",
        )


def _room(world: World, path: str) -> Iterator[Finding]:
    try:
        disk = os.statvfs(path)
    except (AttributeError, OSError):
        return
    if (free := disk.f_bavail * disk.f_frsize) < LOW_ON_SPACE or (disk.f_files and not disk.f_favail):
        yield problem(
            f"the disk of {world.shorten(path)} is full ({size_of(free)} left): no login can be kept or renewed there",
            f"df -h {as_typed(world, path)}; df -i {as_typed(world, path)}",
        )


def _is_ours_alone(world: World, path: str, mode: int) -> bool:
    """Whether nobody but us has business in a directory, so that closing it to others harms none of them."""
    real, home = os.path.realpath(path), os.path.realpath(world.home)
    if mode & stat.S_ISVTX or os.path.join(home, "").startswith(os.path.join(real, "")):
        return False
    chosen = {world.expand(world.env[name]) for name in OUR_DIRECTORIES if world.env.get(name)}
    return path not in chosen or all(map(_OUR_FILES.match, os.listdir(path)))


_OUR_FILES = re.compile(r"\.?(auth\.json|config\.toml)\b|refresh$|\.dbx-auth$|models")
