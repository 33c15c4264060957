"""The text of a profile file, changed in one section and nowhere else.

Two readers disagree about it: `profile.parse` reads what the Databricks CLI reads, Python's configparser what the
Databricks SDK for Python reads. What is written here reads the same for both, or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from . import profile as profiles
from .errors import ConfigError
from .profile import FIELDS


class Entry(NamedTuple):
    """A key with its value, or a section's header, which has none: the lines from `first` to `last`."""

    first: int
    last: int
    section: str
    key: str | None = None
    value: str = ""


def layout(text: str) -> list[Entry]:
    """Where everything stands that `profile.parse` reads, in the order of the file; what is left are comments."""
    found: list[Entry] = []
    at, section = 0, "DEFAULT"

    def numbered() -> Iterator[tuple[int, str]]:
        nonlocal at
        for number, raw in enumerate(text.split("\n")):
            at = number
            yield number, raw

    lines = numbered()
    for first, raw in lines:
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = line[1 : line.rfind("]")]
            found.append(Entry(first, first, section))
            continue
        key, delimiter, rest = _KEY.match(line).groups()  # type: ignore[union-attr]  # parse has seen them all
        value = profiles.read_value(rest.strip(), first + 1, lines)
        found.append(Entry(first, at, section, profiles.unquoted(key.strip()), value))
    return found


_KEY = re.compile(r"([^=:]*)([=:])(.*)", re.DOTALL)


def edited(text: str, section: str, values: Mapping[str, str], gone: Callable[[str], bool] = lambda key: False) -> str:
    """`text` with these values in one section, and without its keys that are `gone`.

    Each key is changed where it stands. Python takes a line that is indented deeper than the one above for more of
    the same value; where that spoils a value, all of them move to the top of the section.
    """
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix(bom)
    for at_top in (False, True):
        new = _Lines(text, section).edit(values, gone, at_top=at_top)
        seen = read_by_python(new)
        wanted = {key: value or None for key, value in values.items()}
        if seen is None or {key: seen.get(section, {}).get(key) for key in wanted} == wanted:
            return bom + new
    raise ConfigError(
        f"the section [{section}] cannot be written so that every Databricks tool reads it back",
        hint="take the blanks away from the beginning of the lines in and above it",
    )


class _Lines:
    """The lines of a file, and which of them belong to one section."""

    def __init__(self, text: str, section: str) -> None:
        self._lines = text.split("\n")
        self._section = section
        self._layout = layout(text)
        self._headers = [e for e in self._layout if e.section == section and e.key is None]
        self._keys = [e for e in self._layout if e.section == section and e.key is not None]
        self._end = "\r" if text.count("\r\n") * 2 > text.count("\n") else ""

    def edit(self, values: Mapping[str, str], gone: Callable[[str], bool], *, at_top: bool) -> str:
        # Python folds the case of keys, and would find one that differs in nothing else twice.
        folded = {entry: (entry.key or "").lower() for entry in self._keys}
        change: dict[Entry, list[str]] = {e: [] for e, key in folded.items() if key in values or gone(key)}
        there = set()
        for key, value in values.items():
            found = [e for e in self._keys if folded[e] == key]
            if found and value and not at_top:
                keep = next((e for e in reversed(found) if e.key == key), found[-1])
                change[keep] = self._rewritten(keep, key, value)
                there.add(key)
        new = {key: value for key, value in values.items() if value and key not in there}
        left = [e for e in self._keys if change.get(e, ["kept"])]
        if not self._headers and not self._keys:
            return self._appended(new)
        at = self._headers[-1].last + 1 if at_top and self._headers else self._place(left)
        return self._joined(change, at, self._spelled(new, left, at))

    def _place(self, left: list[Entry]) -> int:
        """The line at which a new key goes: behind the last one that stays, or behind the header."""
        if left or self._headers:
            return max(e.last for e in [*left[-1:], *self._headers[-1:]]) + 1
        return self._keys[0].first

    def _rewritten(self, entry: Entry, key: str, value: str) -> list[str]:
        """The line of a key with another value, or the very line where every reader sees that value already."""
        raw = self._lines[entry.first]
        end = "\r" if raw.endswith("\r") else ""
        name, delimiter, rest = _KEY.match(raw.removesuffix("\r")).groups()  # type: ignore[union-attr]
        if entry.first == entry.last and (name.strip(), entry.value, rest.strip()) == (key, value, value):
            return [raw]
        padding = name[len(name.rstrip()) :]
        gap = _indent(rest) if rest.strip() else padding and " "
        line = f"{_indent(name)}{key}{padding}{delimiter}{gap}{value}{end}"
        comment = "" if FIELDS.get(key, FIELDS["token"]).secret else _comment(rest.strip())
        # Behind the value Python would take it for more of that.
        return [f"{_indent(name)}{comment}{end}", line] if comment and entry.first == entry.last else [line]

    def _spelled(self, new: Mapping[str, str], left: list[Entry], at: int) -> list[str]:
        """The lines of new keys, in the manner of those that are there; without any, aligned as the CLI does it."""
        if not left:
            width = max(map(len, new), default=0)
            return [f"{key.ljust(width)} = {value}{self._end}" for key, value in new.items()]
        names = [re.split("[=:]", self._lines[e.first])[0].lstrip() for e in left]
        below = next((e for e in left if e.first >= at), left[-1])
        indent = _indent(self._lines[below.first])
        columns = {len(name) for name in names}
        aligned = len(columns) == 1 and len({len(name.rstrip()) for name in names}) > 1
        gap = " " if any(name != name.rstrip() for name in names) else ""
        width = columns.pop() - len(gap) if aligned else 0
        return [f"{indent}{key.ljust(width)}{gap}={gap}{value}{self._end}" for key, value in new.items()]

    def _joined(self, change: Mapping[Entry, list[str]], at: int, new: list[str]) -> str:
        replaced = {entry.first: (entry.last, lines) for entry, lines in change.items()}
        result: list[str] = []
        number = 0
        while number < len(self._lines):
            result += new if number == at else []
            last, lines = replaced.get(number, (number, [self._lines[number]]))
            result += lines
            number = last + 1
        if at == number and new:
            if result and self._end and not result[-1].endswith("\r"):
                result[-1] += self._end
            result += [self._end] * _reach(result) + new
        added = at == number and new
        if result and result[-1] and (added or self._lines[-1] == "" or result[-1].endswith("\r")):
            result.append("")
        return "\n".join(result)

    def _appended(self, new: Mapping[str, str]) -> str:
        """The section at the end of the file, an empty line before it."""
        lines = [*self._lines]
        if lines[-1]:  # no end of line at the end of the file
            lines[-1] += self._end
            lines.append("")
        block = [f"[{self._section}]{self._end}", *self._spelled(new, [], 0), ""]
        lines = lines[:-1]
        gap = max(_reach(lines), 1 if lines and lines[-1].strip() else 0)
        return "\n".join([*lines, *[self._end] * gap, *block])


def _reach(lines: list[str]) -> int:
    """How many lines behind these the last value reaches out for: one for each backslash at its end."""
    empty = 0
    for line in map(str.strip, reversed(lines)):
        if line:
            return max(0, len(line) - len(line.rstrip("\\")) - empty)
        empty += 1
    return 0


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _comment(rest: str) -> str:
    """What `profile.parse` takes for a comment behind a value."""
    if not rest.startswith(("`", '"""')) and not rest.endswith("\\"):
        for sign in (" #", " ;"):
            if sign in rest:
                return sign[1] + rest.partition(sign)[2]
    return ""


def reads_back(text: str, wanted: Mapping[str, Mapping[str, str]]) -> bool:
    try:
        return profiles.parse(text) == wanted == read_by_python(text)
    except ValueError:  # a quote that is never closed
        return False


def read_by_python(text: str) -> dict[str, dict[str, str]] | None:
    """What the Databricks SDK for Python reads; None where it reads nothing at all. Told twice is forgiven here."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="\n")
    try:
        parser.read_string(text.replace("\r\n", "\n").replace("\r", "\n"))
    except configparser.Error:
        return None
    return {name: dict(parser[name]) for name in parser.sections()}
