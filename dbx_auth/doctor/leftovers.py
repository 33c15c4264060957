"""What killed writers, other tools and we ourselves left beside the files: all of it may hold secrets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from dbx_auth import files, profile as profiles
from dbx_auth.profile import FIELDS
from dbx_auth.world import World

from .access import is_mine, lock_folders, lying_in, owner, seen_by_others, stores
from .findings import Finding, Given, as_typed, counted, note, ok, warning
from .stores import SET_ASIDE


def leftovers(given: Given) -> Iterator[Finding]:
    """What killed writers, other tools and we ourselves left beside the files: all of it may hold secrets."""
    world = given.world
    found: list[Finding] = []
    for path in stores(world):
        for name in (path, path + ".bak"):
            found += [_abandoned(world, each) for each in files.leftovers(name, world.now())]
        found += _backups(world, path)
        found += _damaged(world, path)
    for folder in lock_folders(world):
        for path, status in lying_in(folder, ".", ".tmp"):
            if world.now() - status.st_mtime > files.LEFTOVER:
                found.append(_abandoned(world, path))
    yield from found or [ok("no temporary files, old copies or damaged files lie about")]


def _abandoned(world: World, path: str) -> Finding:
    def is_ours() -> bool:
        with suppress(OSError):
            status = os.lstat(path)
            old = world.now() - status.st_mtime > files.LEFTOVER
            return old and stat.S_ISREG(status.st_mode) and is_mine(status)
        return False

    def remove() -> str:
        if not is_ours():
            return ""
        os.unlink(path)
        return f"removed {world.shorten(path)}"

    text = f"{world.shorten(path)} was left by a program that was killed"
    return warning(text, f"rm {as_typed(world, path)}", remove if is_ours() else None)


def _backups(world: World, path: str) -> Iterator[Finding]:
    folder, base = os.path.split(os.path.abspath(path))
    for backup, status in lying_in(folder, base + ".bak"):
        if not stat.S_ISREG(status.st_mode):
            continue
        yield from owner(world, backup, status)
        yield from seen_by_others(world, backup, status)
        if held := _secrets_in(backup):
            yield note(f"{world.shorten(backup)} is an old copy that {held}", f"rm {as_typed(world, backup)}")


def _secrets_in(path: str) -> str:
    """What an old copy holds, in words; nothing where that is no secret."""
    try:
        with open(path, "rb") as file:
            data = file.read(profiles.LARGEST)
        sections = profiles.parse(data.decode().removeprefix("\ufeff"))
    except (OSError, ValueError):
        return "may hold secrets"
    names = {key for name, field in FIELDS.items() if field.secret for key in field.keys or (name,)}
    found = sum(bool(value) and key in names for values in sections.values() for key, value in values.items())
    return f"still holds {counted(found, 'secret')}" if found else ""


def _damaged(world: World, path: str) -> Iterator[Finding]:
    folder, base = os.path.split(os.path.abspath(path))
    aside = lying_in(folder, base + ".damaged-")
    for damaged, status in aside:
        if stat.S_ISREG(status.st_mode):
            yield from owner(world, damaged, status)
            yield from seen_by_others(world, damaged, status)
    if len(aside) > SET_ASIDE:
        yield warning(
            f"{len(aside)} damaged copies of {world.shorten(path)} lie there, and no more will be set aside",
            f"rm {as_typed(world, path)}.damaged-*",
        )
    elif aside:
        last = aside[-1][0]
        more = f", and {len(aside) - 1} more like it," if len(aside) > 1 else ""
        yield note(
            f"{world.shorten(last)}{more} was set aside because it was damaged; it may hold secrets",
            f"rm {as_typed(world, last)}",
        )
