"""What is to change in a client's file, the change itself, and the way back.

What undo needs is in `clients.json` in our data directory: for each file what we wrote, and digests of the file before
and after. The file as it was is its own backup beside it, so no setting of a person, and no secret in one, is in a
second place. Where the file is as we left it, undo puts the backup back; where somebody changed it, only the keys that
still say what we wrote are taken out, or put back to what the backup has.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from dbx_auth import profile as profiles
from dbx_auth.errors import ConfigError
from dbx_auth.files import write_private
from dbx_auth.store import JsonFile
from dbx_auth.world import World

from .formats import FORMATS, Format

BACKUP = ".dbx-auth-backup"
"""What the name of a backup ends in."""

CHANGED = "changed"
"""In place of a digest: somebody changed the file between two writes of ours, and a backup would undo that as well."""

_ASSIGNED = re.compile(
    r"""(?i)((?:key|token|secret|password|credential)["']?\s*[=:]\s*)(["']?)[^\s"',}]{6,}\2(?=\s*(?:[,}#]|$))"""
)
_SCHEME = re.compile(r"""(?i)\b(bearer|basic) +[^\s"',}]{6,}""")
"""What a secret looks like in any of the formats; a command has blanks in it, and a reference to a variable braces."""


class Change(NamedTuple):
    """A file, its format, and its bytes: None where there is none, before or after."""

    path: str
    format: str
    before: bytes | None
    after: bytes | None

    @property
    def is_there(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.after


class Undone(NamedTuple):
    """What undo did to a file; `backup` is left behind where the file is not what it was, else empty."""

    path: str
    is_changed: bool
    backup: str


def planned(path: str, format: str, wanted: Mapping[str, Any], world: World) -> Change:
    """What has to change for these values to stand in a file. Raises ConfigError, which names the line."""
    before = _bytes(path, world)
    text, kind = _text(path, before, world), FORMATS[format]
    with _refusing(path, world):
        said = kind.parse(text)
        _check(said, wanted)
        after = text if _has(said, wanted) else kind.merged(text, wanted)
        _expect(kind, after, _merged(said, wanted))
    return Change(path, format, before, after.encode() if after or before is not None else None)


def write(
    client: str, path: str, format: str, wanted: Mapping[str, Any], world: World, *, private: bool = False
) -> Change:
    """Make that change, with what undo needs on the disk before it. Raises ConfigError, or Temporary for the lock.

    What is `private` nobody else may read from now on; any other file keeps its mode.
    """
    record = _Record(world)
    with record.locked(), world.uninterrupted():
        change = planned(path, format, wanted, world)
        if not change.is_there:
            return change
        files = record.files()
        entry, mode = files.get(path), _mode(path)
        narrow = mode & 0o700 if private and mode is not None else mode
        if entry is None or change.before is None or _digest(change.before) == entry["before"]:
            files[path] = {
                "client": client,
                "format": format,
                "backup": "" if change.before is None else _backed_up(path, change.before, world),
                "before": _digest(change.before),
                "after": _digest(change.after),
                "folders": _missing(path),
                "mode": None if narrow == mode else mode,
                "wrote": dict(wanted),
            }
        else:  # written to before: the way back still leads to what was there then
            is_ours = _digest(change.before) == entry["after"]
            after = _digest(change.after) if is_ours else CHANGED
            files[path] = {**entry, "after": after, "wrote": _merged(entry["wrote"], wanted)}
        record.write({"version": 1, "files": files})
        _put(path, change.after or b"", narrow)
    return change


def undo(client: str, world: World) -> list[Undone]:
    """Take back what we wrote for a client; empty where there is nothing of ours. Raises as `write`."""
    record = _Record(world)
    done = []
    with record.locked(), world.uninterrupted():
        files = record.files()
        for path in [path for path, entry in files.items() if entry["client"] == client]:
            done.append(_undone(path, files[path], world))
            del files[path]
            record.write({"version": 1, "files": files})
    return done


def standing(client: str, path: str, format: str, sign: tuple[str, ...], world: World) -> str:
    """Who configured a client: `dbx-auth`, `changed` where somebody changed that since, `otherwise` or `no`.

    `sign` is the key that a configuration of whoever has; `unreadable` is a file that cannot be understood.
    """
    try:
        entry = _Record(world).files().get(path)
        said = FORMATS[format].parse(_text(path, _bytes(path, world), world))
    except (ConfigError, ValueError, RecursionError):
        return "unreadable"
    if entry and entry["client"] == client:
        return "dbx-auth" if _has(said, entry["wrote"]) else "changed"
    return "otherwise" if _at(said, sign) is not _NOTHING else "no"


def difference(change: Change, world: World) -> str:
    """The change as a unified diff without secrets; empty where there is none."""
    name = world.shorten(change.path)
    old, new = ((data or b"").decode().splitlines() for data in (change.before, change.after))
    was = name if change.before is not None else os.devnull
    lines = difflib.unified_diff(old, new, was, name, lineterm="", n=0)  # what is around it may be anybody's secret
    return "\n".join(map(hidden, lines))


def hidden(line: str) -> str:
    """A line of a file without the secret in it."""
    return _SCHEME.sub(r"\1 ***", _ASSIGNED.sub(r"\1\2***\2", line))


# ---- the way there and back ------------------------------------------------------------------------------------------


class _Record(JsonFile):
    """What we wrote into the files of clients."""

    def __init__(self, world: World) -> None:
        super().__init__(world, os.path.join(world.data_dir, "clients.json"), "clients.json.lock")

    def files(self) -> dict[str, dict[str, Any]]:
        """What is known of each file. Raises ConfigError for what is not of our making."""
        files = self.read().get("files", {})
        kinds = {"client": str, "format": str, "backup": str, "folders": list, "wrote": dict}
        for entry in files.values() if isinstance(files, dict) else [None]:
            if not isinstance(entry, dict) or not all(isinstance(entry.get(k), kind) for k, kind in kinds.items()):
                raise self.damaged("it does not say which files we wrote to")
            if entry["format"] not in FORMATS or "before" not in entry or "after" not in entry:
                raise self.damaged("it was written by another version")
        return dict(files)


def _undone(path: str, entry: Mapping[str, Any], world: World) -> Undone:
    now, kind = _bytes(path, world), FORMATS[entry["format"]]
    backup = _bytes(entry["backup"], world) if entry["backup"] else None
    is_known = _digest(backup) == entry["before"]
    if _digest(now) == entry["after"] and is_known:
        after = backup
    elif now is None:
        return Undone(path, False, entry["backup"] if backup is not None else "")
    else:
        before = backup if is_known else None
        with _refusing(path, world):
            after = _taken_out(kind, _text(path, now, world), entry, _text(path, before, world)).encode()
        if entry["before"] is None and b"".join(after.split()) in (b"", b"{}"):
            after = None
    if after is None:
        _remove(path, entry["folders"])
    elif after != now:
        is_as_before = _digest(after) == entry["before"]  # anything else may hold a secret by now
        _put(path, after, (entry.get("mode") if is_as_before else None) or _mode(path))
    if _digest(after) != entry["before"]:
        return Undone(path, after != now, entry["backup"] if backup is not None else "")
    if is_known and backup is not None:
        os.unlink(entry["backup"])
    return Undone(path, after != now, "")


def _taken_out(kind: Format, text: str, entry: Mapping[str, Any], before: str) -> str:
    """The text of a file that somebody changed, without what is still ours, and with what was there in its place."""
    said, was = kind.parse(text), kind.parse(before)
    back: dict[str, Any] = {}
    gone: dict[str, Any] = {}
    for place, value in _leaves(entry["wrote"]):
        if _at(said, place) == value:
            old = _at(was, place)
            _set(*((gone, place, value) if old is _NOTHING else (back, place, old)))
    return kind.without(kind.merged(text, back) if back else text, gone, was) if back or gone else text


def _backed_up(path: str, data: bytes, world: World) -> str:
    """Keep a file as it is beside it, for this user alone, and never in place of another backup."""
    number, backup = 1, path + BACKUP
    while (there := _bytes(backup, world)) is not None and there != data:
        number += 1
        backup = f"{path}{BACKUP}-{number}"
    if there is None:
        write_private(backup, data)
    return backup


def _put(path: str, data: bytes, mode: int | None) -> None:
    """Replace a file at once, with this mode; for this user alone without one."""
    write_private(path, data)
    if mode is not None:
        with suppress(OSError):
            os.chmod(path, mode)


def _mode(path: str) -> int | None:
    """Who may do what with a file, None where there is none."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_mode & 0o777
    return None


def _remove(path: str, folders: list[str]) -> None:
    """Remove a file that we made, and the directories that we made for it, unless others use them now."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.realpath(path))
    for folder in folders:
        with suppress(OSError):
            os.rmdir(folder)


def _missing(path: str) -> list[str]:
    """The directories that have to be made for a file, the innermost first."""
    folder = os.path.dirname(os.path.realpath(path))
    found = []
    while folder and not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        found.append(folder)
        folder = os.path.dirname(folder)
    return found


def _digest(data: bytes | None) -> str | None:
    import hashlib

    return None if data is None else hashlib.sha256(data).hexdigest()


def _bytes(path: str, world: World) -> bytes | None:
    """What a file holds, None where there is none. Raises ConfigError where it cannot be read."""
    return profiles.content(world, path) if os.path.exists(path) else None


def _text(path: str, data: bytes | None, world: World) -> str:
    try:
        return (data or b"").decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{world.shorten(path)} is not UTF-8 text: line {line}", hint=f"save it as UTF-8: {path}"
        ) from error


@contextmanager
def _refusing(path: str, world: World) -> Iterator[None]:
    """Let what a format cannot take be an error of ours that names the file."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{world.shorten(path)} cannot be changed, and was left as it is: {error}",
            hint=f"correct it, or put in by hand what --print shows: {path}",
        ) from error


# ---- values in tables in tables --------------------------------------------------------------------------------------


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


_NOTHING = object()
"""What is at a place where nothing is, not even null."""


def _at(table: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        if not isinstance(table, dict) or key not in table:
            return _NOTHING
        table = table[key]
    return table


def _set(table: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for key in place[:-1]:
        table = table.setdefault(key, {})
    table[place[-1]] = value


def _has(said: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(repr(_at(said, place)) == repr(value) for place, value in _leaves(wanted))


def _merged(said: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What is said, with what is wanted; neither is changed."""
    new = dict(said)
    for key, value in wanted.items():
        old = new.get(key)
        new[key] = _merged(old if isinstance(old, dict) else {}, value) if isinstance(value, dict) else value
    return new


def _check(said: Any, wanted: Mapping[str, Any], above: str = "") -> None:
    """Raise ValueError where a table is wanted and something else is there, or the other way round."""
    for key, value in wanted.items():
        name = f"{above}{key}"
        if key in said and isinstance(said[key], dict) != isinstance(value, dict):
            raise ValueError(f"{name} is {'no ' if isinstance(value, dict) else 'a '}table of keys there")
        if isinstance(value, dict) and key in said:
            _check(said[key], value, f"{name}.")


def _expect(kind: Format, text: str, wanted: Mapping[str, Any]) -> None:
    """Raise ValueError unless the new text says what it is to say: what it said before, and what is wanted."""
    if repr(_sorted(kind.parse(text))) != repr(_sorted(wanted)):
        raise ValueError("it is written in a way that does not let a key be changed by itself")


def _sorted(value: Any) -> Any:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
