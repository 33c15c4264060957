"""What a check says, and how it spells things."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from typing import NamedTuple

from dbx_auth.profile import Flags
from dbx_auth.world import World, printable

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"


class Finding(NamedTuple):
    """What one check found. `level` is ok, note, warning or problem; `fix` mends it and says what it did."""

    check: str
    level: str
    text: str
    hint: str = ""
    fix: Callable[[], str] | None = None


class Given(NamedTuple):
    """What the checks are told: the outside, the flags of the command line, and whether the network may be asked."""

    world: World
    flags: Flags = Flags()
    offline: bool = False


def ok(text: str) -> Finding:
    return Finding("", OK, text)


def note(text: str, hint: str = "") -> Finding:
    return Finding("", NOTE, text, hint)


def warning(text: str, hint: str = "", fix: Callable[[], str] | None = None) -> Finding:
    return Finding("", WARNING, text, hint, fix)


def problem(text: str, hint: str = "", fix: Callable[[], str] | None = None) -> Finding:
    return Finding("", PROBLEM, text, hint, fix)


def as_typed(world: World, path: str) -> str:
    """A path as it can be typed into a shell."""
    short = world.shorten(path)
    return short if short.startswith("~/") and quoted(short[2:]) == short[2:] else quoted(path)


def quoted(word: str) -> str:
    from shlex import quote

    return quote(printable(word).replace("\n", ""))


def size_of(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def without_values(text: str) -> str:
    """An error about a setting without the value that it repeats: that may be a secret in the wrong place."""
    text = re.sub(r": .*(?= \((env|flag|file|stored)\b)", "", text)  # as `profile` says where a host came from
    return re.sub(r"(?<!\w)(['\"]).*?\1(?!\w)", "***", text)


def counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFLNK: "a link",
        stat.S_IFREG: "a file",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
