"""The files: there, understood, and nobody else's. A damaged one of ours can be set aside."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from dbx_auth import __version__, profile as profiles, settings
from dbx_auth.errors import ConfigError
from dbx_auth.store import AuthJson, CliCache, JsonFile
from dbx_auth.world import World

from .access import folder_of, is_mine, is_plain, make_private, owner, seen_by_others
from .findings import Finding, Given, as_typed, counted, kind_of, note, ok, problem, size_of, warning, without_values

SET_ASIDE = 5
"""Damaged files of one name that may lie there before no more are set aside."""


class Newer(ConfigError):
    """A file that nothing is wrong with, but that we are too old for."""


def profile_file(given: Given) -> Iterator[Finding]:
    """`.databrickscfg`, which other tools write too; one that is damaged stays where it is."""
    world = given.world
    path = world.config_file

    def read() -> str:
        sections = profiles.read(world)
        names = [name for name in sections if name != "__settings__" and sections[name]]
        return counted(len(names), "profile")

    yield from _file(world, path, read)


def auth_json(given: Given) -> Iterator[Finding]:
    """Our own logins."""
    file = AuthJson(given.world)
    unusable: list[str] = []

    def read() -> str:
        entries = file.entries()
        known = {entry.key for entry in entries}
        for key in file.read():
            if key not in known and (key == file.DEFAULT or key.startswith(file.DEFAULT + ":")):
                unusable.append(key)
        return counted(len(entries), "login")

    yield from _file(given.world, file.path, read, file)
    for key in unusable:
        yield warning(
            f"the entry {key} of {file.name} names no host that can be used, and is passed over", "dbx-auth login"
        )


def token_cache(given: Given) -> Iterator[Finding]:
    """The logins of the Databricks CLI."""
    cache = CliCache(given.world)

    def read() -> str:
        version = JsonFile.read(cache).get("version", cache.VERSION)
        if isinstance(version, int) and version > cache.VERSION:
            raise Newer(
                f"{cache.name} is of version {version}, and dbx-auth {__version__} understands version "
                f"{cache.VERSION}; a newer Databricks CLI wrote it",
                hint="pip install --upgrade dbx-auth   # or, and then the CLI needs a login: dbx-auth doctor --fix",
            )
        if version != cache.VERSION:
            raise ConfigError(f"{cache.name} does not say its version", hint="dbx-auth doctor --fix")
        return counted(len(cache.tokens()), "login")

    yield from _file(given.world, cache.path, read, cache)


def config_toml(given: Given) -> Iterator[Finding]:
    """Our own settings. Only a file that is no TOML is damaged; a value that cannot be is for a person to correct."""
    world = given.world
    path = settings.path(world)

    def read() -> str:
        return counted(len(settings.read(world)), "setting")

    yield from _file(world, path, read, JsonFile(world, path, "config.toml.lock"), secret=False)
    with suppress(ConfigError):
        for text in settings.unknown(world) if is_plain(path) else ():
            yield warning(text, settings.EDIT)
    try:
        if is_plain(path) and settings.read(world):
            settings.items(world)
    except ConfigError as error:
        if error.hint == settings.EDIT:
            yield problem(without_values(str(error)), error.hint)


def _file(
    world: World, path: str, read: Callable[[], str], ours: JsonFile | None = None, *, secret: bool = True
) -> Iterator[Finding]:
    """One file: there, what it holds, whose it is, who may see it. `ours` is what may be set aside when damaged."""
    shown, typed = world.shorten(path), as_typed(world, path)
    try:
        link = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        yield note(f"{shown} is not there")
        return
    except OSError as error:
        yield problem(f"{shown} cannot be looked at: {error.strerror}", f"ls -ld {as_typed(world, folder_of(path))}")
        return
    is_link = stat.S_ISLNK(link.st_mode)
    try:
        status = os.stat(path)
    except OSError as error:
        yield problem(f"{shown} is a link that leads nowhere: {error.strerror}", f"ls -l {typed}")
        return
    if is_link:
        yield note(f"{shown} is a link to {world.shorten(os.path.realpath(path))}")
    if not stat.S_ISREG(status.st_mode):
        yield problem(f"{shown} is {kind_of(status.st_mode)}, not a file", f"mv {typed} {typed}.aside")
        return
    yield from owner(world, path, status, is_link)
    try:
        yield ok(f"{shown}: {read()}, {size_of(status.st_size)}")
    except ConfigError as error:
        if not _can_be_opened(path):
            yield problem(str(error), f"ls -ld {typed}")
        elif ours is None:
            line = re.search(r"line (\d+)", str(error))
            yield problem(str(error), f'"${{EDITOR:-vi}}" {f"+{line[1]} " if line else ""}{typed}')
        else:
            mine = is_mine(status) and is_mine(link)
            hint = "dbx-auth doctor --fix   # moves it aside, whole" if mine else f"sudo mv {typed} {typed}.damaged"
            fix = _setting_aside(world, path, read, ours) if mine else None
            yield problem(str(error), error.hint if isinstance(error, Newer) else hint, fix)
    yield from seen_by_others(world, path, status, secret=secret)
    if status.st_nlink > 1:
        yield warning(
            f"{shown} has {status.st_nlink} names (hard links); the others keep the old content when it is replaced",
            f"find {as_typed(world, folder_of(path))} -xdev -samefile {typed}",
        )


def _can_be_opened(path: str) -> bool:
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False


def _setting_aside(world: World, path: str, read: Callable[[], str], file: JsonFile) -> Callable[[], str]:
    """Move a damaged file to a name of its own, under the lock that its writers take; not a byte of it is lost."""

    def fix() -> str:
        with file.locked():
            try:
                read()
            except ConfigError:
                return aside()
        return ""

    def aside() -> str:
        from datetime import UTC, datetime

        folder, base = os.path.split(os.path.abspath(path))
        count = sum(name.startswith(base + ".damaged-") for name in os.listdir(folder))
        if count > SET_ASIDE:
            raise ConfigError(
                f"{count} damaged copies of {world.shorten(path)} lie there already",
                hint=f"look into them, then: rm {as_typed(world, path)}.damaged-*",
            )
        if not os.path.islink(path):
            make_private(path, 0o600)
        moment = datetime.fromtimestamp(world.now(), UTC).strftime("%Y%m%dT%H%M%S")
        new = _reserved(f"{path}.damaged-{moment}")
        try:
            os.replace(path, new)
        except OSError:
            os.unlink(new)
            raise
        back = f"mv {as_typed(world, new)} {as_typed(world, path)}"
        return f"moved {world.shorten(path)} aside, whole; this puts it back: {back}"

    return fix


def _reserved(path: str) -> str:
    """A name that nobody has, made from `path`, and an empty file under it that keeps it free for us."""
    for name in (path, *(f"{path}-{number}" for number in range(2, 2 + SET_ASIDE))):
        with suppress(FileExistsError):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            return name
    raise ConfigError(f"{path} is taken", hint=f"ls -l {path}*")
