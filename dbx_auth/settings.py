"""Our own settings: `config.toml`, a file that a person may write and we may change.

It is read with tomllib and changed with tomlkit, so comments, order and what we do not know survive. A file that
cannot be understood is named with its line, and never written to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import hosts, profile as profiles
from .errors import ConfigError, UsageError
from .world import World, one_line

if TYPE_CHECKING:
    import tomlkit

LONGEST = 200
"""Lines that a value may have and still be told from its neighbours, when we say where something stands."""

LIST = "dbx-auth config list"
EDIT = "dbx-auth config edit"


class Kind(NamedTuple):
    """What a value may be: in words, read from what a person types, and told from what it may not be.

    `typed` raises ValueError for what is none; `fits` takes whatever TOML can say.
    """

    wanted: str
    typed: Callable[[str], Any]
    fits: Callable[[Any], bool]


class Key(NamedTuple):
    """A setting: the tables it is in and its own name, what it may be, and what it is where nobody says it."""

    path: tuple[str, ...]
    kind: Kind
    default: str | None = None

    def __str__(self) -> str:
        return spelled(self.path)


class Item(NamedTuple):
    """A setting and its value, None where it has none; `origin` is `file` or `default`."""

    key: str
    value: Any
    origin: str


def seconds(value: object) -> float:
    """A duration: a number of seconds, or text such as `900`, `90s`, `15m`, `2h`. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    text = str(value).strip()
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    found = float(text[:-1]) * factor if factor else float(text)
    if not 0 <= found < 10**9:
        raise ValueError(value)
    return found


def _fits(read: Callable[[Any], object]) -> Callable[[Any], bool]:
    """Whether `read` takes a value."""

    def fits(value: Any) -> bool:
        try:
            read(value)
        except (ValueError, ConfigError):
            return False
        return True

    return fits


def _one_of(*words: str) -> Kind:
    return Kind(" or ".join(words), str, lambda value: isinstance(value, str) and value in words)


def _some_of(*words: str) -> Kind:
    return Kind(
        f"one or several of {', '.join(words)}",
        lambda text: [word.strip() for word in text.split(",")],
        lambda value: isinstance(value, list) and bool(value) and all(word in words for word in value),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**12


def _is_url(value: Any) -> bool:
    """Whether model calls may go there: https, or http on loopback, and no user, query or fragment."""
    if not isinstance(value, str) or "@" in value or "?" in value or "#" in value or not (url := hosts.origin(value)):
        return False
    return url.startswith("https://") or hosts.is_loopback(url)


_TEXT = Kind("text", str, _is_text)
_PROFILE = Kind("the name of a profile", str, lambda value: _is_text(value) and value != "__settings__")
_SECONDS = Kind(
    "a duration such as 900, 90s, 15m or 2h", lambda text: int(text) if text.isdecimal() else text, _fits(seconds)
)
_SWITCH = Kind("true or false", lambda text: ["false", "true"].index(text) == 1, lambda value: isinstance(value, bool))
_COUNT = Kind("a whole number above 0", int, lambda value: _is_number(value) and isinstance(value, int) and value > 0)
_PRICE = Kind("a number that is 0 or more", float, _is_number)
_URL = Kind("https:// and a name, and a path if need be", lambda text: text.rstrip("/"), _is_url)
_TABLE = Kind("a table", str, lambda value: isinstance(value, Mapping))

TOP = (
    Key(("profile",), _PROFILE),
    Key(("storage",), _one_of("file", "keyring"), "file"),
    Key(("min_ttl",), _SECONDS),
    Key(("output",), _one_of("text", "json"), "text"),
    Key(("color",), _one_of("auto", "always", "never"), "auto"),
)
"""What stands at the top of the file."""

TABLES: dict[str, dict[str, Kind]] = {
    "models": {
        "name": _TEXT,
        "family": _TEXT,
        "apis": _some_of("chat", "responses", "messages", "generateContent", "embeddings"),
        "tools": _SWITCH,
        "reasoning": _SWITCH,
        "input": _some_of("text", "image", "audio", "video"),
        "context": _COUNT,
        "output": _COUNT,
        "cost.input": _PRICE,
        "cost.output": _PRICE,
        "cost.cache_read": _PRICE,
    },
    "hosts": {"base_url": _URL},
}
"""What stands in `[models."NAME"]` and in `[hosts."https://…"]`."""

_IN_TABLE = re.compile(
    r"(?P<table>models|hosts)\.(?:\"(?P<quoted>[^\"]+)\"|'(?P<single>[^']+)'|(?P<bare>.+?))\.(?P<rest>"
    + "|".join(sorted({re.escape(rest) for rests in TABLES.values() for rest in rests}, key=len, reverse=True))
    + ")"
)


def key(text: str) -> Key:
    """The setting of that name: `min_ttl`, `models."NAME".context`. Raises UsageError naming the nearest that there is.

    The quotes may be missing, because a shell takes them away.
    """
    if found := next((top for top in TOP if str(top) == text), None):
        return found
    if match := _IN_TABLE.fullmatch(text):
        name = match["quoted"] or match["single"] or match["bare"]
        if found := _key_at((match["table"], name, *match["rest"].split("."))):
            return found
    raise UsageError(_no_such(text), hint=LIST)


def _no_such(text: str) -> str:
    near = nearest(text)
    return f"there is no setting {_told(text)}" + (f"; did you mean {near}?" if near else "")


def _told(text: str) -> str:
    """What somebody typed or wrote, in one line and without the password that an address may hold."""
    return one_line(re.sub(r"//[^/]*@", "//***@", text), 80)


def _instead_of(kind: Kind, said: object) -> str:
    """What was said, beside what it should have been; nothing of a URL, which may hold a password."""
    return "" if kind is _URL else f", not {_told(shown(said))!r}"


def nearest(text: str) -> str:
    """The setting whose name is most like this, or an empty string."""
    from difflib import get_close_matches

    table, _, rest = text.partition(".")
    name = _told(rest.rpartition(".")[0].strip("\"'")) or {"hosts": "https://…"}.get(table, "NAME")
    known = [*map(str, TOP), *(spelled((where, name, last)) for where, lasts in TABLES.items() for last in lasts)]
    return next(iter(get_close_matches(text.lower(), known, 1)), "")


def spelled(path: tuple[str, ...]) -> str:
    """A setting as a person would type it; only what TOML wants quoted is quoted."""
    if len(path) < 2 or path[0] not in TABLES:
        return ".".join(path)
    return ".".join((path[0], f'"{path[1]}"', *path[2:]))


def _key_at(path: tuple[str, ...]) -> Key | None:
    """The setting that has this place in the file, None for what we do not know."""
    if len(path) < 3:
        return next((top for top in TOP if top.path == path), None)
    kind = TABLES.get(path[0], {}).get(".".join(path[2:]))
    if kind is None or not _is_text(path[1]) or '"' in path[1]:
        return None
    if path[0] == "hosts":
        try:
            path = (path[0], hosts.canonical(path[1]).url, *path[2:])
        except ConfigError:
            return None
    return Key(path, kind)


def path(world: World) -> str:
    return os.path.join(world.config_dir, "config.toml")


def read(world: World) -> dict[str, Any]:
    """All that the file says, known or not; empty where there is none. Raises ConfigError with path and line."""
    return _File(world).found


def get(world: World, name: str) -> Any:
    """The value of a setting: the file's, else the default, else None. Raises ConfigError for what it cannot be."""
    return _File(world).item(key(name)).value


def put(world: World, name: str, text: str) -> None:
    """Change a setting to what a person typed. Raises UsageError when it cannot be that."""
    wanted = key(name)
    _write(world, wanted, value_of(wanted, text))


def unset(world: World, name: str) -> bool:
    """Take a setting out of the file, also one that we do not know; False where the file does not say it."""
    file = _File(world)
    try:
        wanted = key(name)
    except UsageError:
        if name not in file.found:
            raise
        wanted = Key((name,), _TEXT)
    if file.place(wanted.path) is None:
        return False
    _write(world, wanted, None)
    return True


def value_of(wanted: Key, text: str) -> Any:
    """What a person typed, as the file holds it. Raises UsageError when this setting cannot be that."""
    try:
        value = wanted.kind.typed(text.strip())
        if wanted.kind.fits(value):
            return value
    except ValueError:
        pass
    raise UsageError(f"{wanted} is {wanted.kind.wanted}{_instead_of(wanted.kind, text)}", hint=LIST)


def shown(value: Any) -> str:
    """A value as a person would type it; empty where there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(shown, value))
    return "" if value is None else str(value)


def items(world: World) -> list[Item]:
    """Every setting that there is, those at the top first. Raises ConfigError for the first that cannot be used."""
    file = _File(world)
    file.check()
    in_tables = (_key_at(place) for place, _ in file.leaves())
    return [file.item(known) for known in (*TOP, *(k for k in in_tables if k and len(k.path) > 1))]


def unknown(world: World) -> list[str]:
    """What the file says and we do not know, in a sentence for each."""
    file = _File(world)
    return [f"{file.where(place)}: {_no_such(spelled(place))}" for place, _ in file.leaves() if _key_at(place) is None]


# ---- what others ask -------------------------------------------------------------------------------------------------


def storage(world: World) -> str:
    """Where the secrets of our own logins are kept: `file` or `keyring`."""
    return str(get(world, "storage"))


def min_ttl(world: World) -> float | None:
    """The life in seconds that a token has to have left, None where the person wants none in particular."""
    said = get(world, "min_ttl")
    return None if said is None else seconds(said)


def output(world: World) -> str:
    """How a list is written where no option says it: `text` or `json`."""
    return str(get(world, "output"))


def color(world: World) -> str:
    """`auto`, `always` or `never`; NO_COLOR in the environment beats the file (https://no-color.org)."""
    return "never" if world.env.get("NO_COLOR") else str(get(world, "color"))


def base_url(world: World, host: str) -> str:
    """Where model calls for this host go instead, without a slash at the end; empty where nobody says."""
    wanted = _key_at(("hosts", host, "base_url"))
    return shown(_File(world).item(wanted).value).rstrip("/") if wanted else ""


def models(world: World) -> dict[str, dict[str, Any]]:
    """What a person says about models: the facts under each name. Raises ConfigError for one that cannot be."""
    file = _File(world)
    file.check("models")
    said: dict[str, dict[str, Any]] = file.found.get("models", {})
    return said


# ---- the file --------------------------------------------------------------------------------------------------------


class _File:
    """The text of `config.toml`, and what it says."""

    def __init__(self, world: World) -> None:
        self.path = path(world)
        self.name = world.shorten(self.path)
        self.text = profiles.text(world, self.path)
        self.found: dict[str, Any] = self._parsed() if self.text else {}
        self._lines: dict[tuple[str, ...], int] | None = None

    def _parsed(self) -> dict[str, Any]:
        import tomllib

        try:
            return tomllib.loads(self.text)
        except RecursionError as error:
            raise self._damaged("it is nested too deeply") from error
        except ValueError as error:
            last = self.text.rstrip().count("\n") + 1
            why = one_line(str(error)).replace("at end of document", f"at the end, line {last}")
            raise self._damaged(why) from error

    def _damaged(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self.name} is not TOML: {why}", hint="correct it, or move it aside: dbx-auth doctor --fix"
        )

    def leaves(self) -> list[tuple[tuple[str, ...], Any]]:
        try:
            return list(_leaves(self.found))
        except RecursionError as error:
            raise self._damaged("it is nested too deeply") from error

    def item(self, wanted: Key) -> Item:
        """A setting and its value. Raises ConfigError where the file says what it cannot be."""
        place = self.place(wanted.path)
        if place is None:
            return Item(str(wanted), wanted.default, "default")
        value: Any = self.found
        for name in place:
            value = value[name]
        self._check(place, value)
        return Item(str(wanted), value, "file")

    def check(self, table: str = "") -> None:
        """Raise ConfigError for the first thing that cannot be as the file says it, in all of it or in one table."""
        for place, value in self.leaves():
            if table in ("", place[0]):
                self._check(place, value)

    def _check(self, place: tuple[str, ...], value: Any) -> None:
        known = _key_at(place)
        if known is None and place[0] == "hosts" and len(place) > 1 and not _fits(hosts.canonical)(place[1]):
            raise ConfigError(f"{self.where(place)}: {_told(place[1])!r} is not a host", hint=EDIT)
        is_table = place[0] in TABLES and (len(place) < 3 or (place[0] == "models" and place[2:] == ("cost",)))
        kind = known.kind if known else _TABLE if is_table else None
        if kind and not kind.fits(value):
            why = f"{spelled(place)} is {kind.wanted}{_instead_of(kind, value)}"
            raise ConfigError(f"{self.where(place)}: {one_line(why)}", hint=EDIT)

    def place(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Where the file has this, under whatever spelling of the host; None where it has not."""
        place: tuple[str, ...] = ()
        table: Any = self.found
        for name in path:
            if not isinstance(table, Mapping):
                return None
            if place == ("hosts",):
                name = next((n for n in table if _fits(hosts.canonical)(n) and hosts.canonical(n).url == name), name)
            if name not in table:
                return None
            place, table = (*place, name), table[name]
        return place

    def place_of_new(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Where a setting goes that the file has not: into the table that is there, under whatever spelling."""
        there = next((p for p in (self.place(path[:n]) for n in range(len(path) - 1, 0, -1)) if p), ())
        return (*there, *path[len(there) :])

    def where(self, place: tuple[str, ...]) -> str:
        """The file, and the line in which this stands."""
        if self._lines is None:
            self._lines = _lines(self.text)
        there = (self._lines.get(place[:n]) for n in range(len(place), 0, -1))
        return f"{self.name}: line {next((line for line in there if line), 1)}"


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line in which each table and each value begins."""
    import tomllib

    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    first, statement, is_lost = 1, "", False
    for at, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            names = _first_names(tomllib.loads(statement))
        except (ValueError, RecursionError):
            is_lost = is_lost or at - first >= LONGEST  # until a line makes sense by itself
            first, statement = (at + 1, "") if is_lost else (first, statement)
            continue
        is_lost = is_lost and not names
        is_header = statement.lstrip().startswith("[")
        table = names if is_header else table
        found.setdefault(names if is_header else (*table, *names), first)
        first, statement = at + 1, ""
    return found


def _first_names(table: Any) -> tuple[str, ...]:
    """The names in the header of a table, or in front of an equals sign; an inline table counts with its first."""
    names: tuple[str, ...] = ()
    while isinstance(table, dict) and table:
        name, table = next(iter(table.items()))
        names = (*names, name)
    return names


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value and its place, in the order of the file; a table that should be a value is one."""
    for name, value in table.items():
        place = (*above, name)
        if isinstance(value, dict) and _key_at(place) is None:
            yield from _leaves(value, place)
        else:
            yield place, value


def _write(world: World, wanted: Key, value: Any) -> None:
    """Change one value, or take it away if it is to be None, and nothing else in the file."""
    from .files import write_private
    from .store import JsonFile

    with JsonFile(world, path(world), "config.toml.lock").locked():
        file = _File(world)
        place = file.place(wanted.path) or file.place_of_new(wanted.path)
        new = changed(file.text, place, value)
        if not _is_just_that(file.text, new, place, value):
            raise ConfigError(
                f"{file.name} is written in a way that does not let {wanted} be changed by itself", hint=EDIT
            )
        if new != file.text:
            write_private(file.path, new.encode())


def changed(text: str, place: tuple[str, ...], value: Any) -> str:
    """The text with one value changed, or taken away if it is to be None; a table that this empties goes with it.

    What tomlkit cannot do comes back as it was.
    """
    import tomlkit

    of_windows = "\r\n" in text and text.count("\r\n") == text.count("\n")
    source = text.replace("\r\n", "\n") if of_windows else text
    source += "\n" if source and not source.endswith("\n") else ""
    try:
        document = tomlkit.parse(source)
        if tomlkit.dumps(document) != source:  # tables that are not beside their like would change places
            return text
        if value is None:
            _take_away(document, place)
        else:
            _put(document, place, value)
        new = tomlkit.dumps(document)
    except Exception:  # it has its own for some things it cannot do, and stumbles over others
        return text
    return new.replace("\n", "\r\n") if of_windows else new


def _put(document: tomlkit.TOMLDocument, place: tuple[str, ...], value: Any) -> None:
    import tomlkit
    from tomlkit.items import InlineTable

    table: Any = document
    for depth, name in enumerate(place[:-1]):
        if name not in table:
            is_inline = isinstance(table, InlineTable) or depth > 1
            table[name] = tomlkit.inline_table() if is_inline else tomlkit.table(is_super_table=depth == 0)
        table = table[name]
    table[place[-1]] = value


def _take_away(document: tomlkit.TOMLDocument, place: tuple[str, ...]) -> None:
    tables: list[Any] = [document]
    for name in place[:-1]:
        tables.append(tables[-1][name])
    del tables[-1][place[-1]]
    for depth in range(len(tables) - 1, 0, -1):
        if len(tables[depth]) or "#" in tables[depth].as_string():  # a comment in it stays
            return
        del tables[depth - 1][place[depth - 1]]


def _is_just_that(text: str, new: str, place: tuple[str, ...], value: Any) -> bool:
    """Whether another reader of TOML finds the new value there, and all the rest as it was."""
    import tomllib

    def read(source: str) -> tuple[dict[tuple[str, ...], Any], Any]:
        found = dict(_leaves(tomllib.loads(source, parse_float=str)))
        here = found.pop(place, None)
        return found, here

    try:
        (before, _), (after, here) = read(text), read(new)
    except (ValueError, RecursionError):
        return False
    return before == after and here == (str(value) if isinstance(value, float) else value)
