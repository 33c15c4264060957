"""Files of `KEY=value` lines, as dotenv libraries read them: changed in the lines in question and nowhere else.

Comments, order, `export` and ends of line stay as they are. A key that is there twice counts where it stands last.
https://github.com/motdotla/dotenv
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_LINE = re.compile(r"(?P<head>[ \t]*(?:export[ \t]+)?(?P<key>[A-Za-z_][\w.-]*)[ \t]*=[ \t]*)(?P<rest>.*)", re.DOTALL)
_QUOTED = re.compile(r"'(?:\\'|[^'])*'|\"(?:\\\"|[^\"])*\"|`(?:\\`|[^`])*`", re.DOTALL)
_PLAIN = re.compile(r"[\w./:@%+,=*-]*", re.ASCII)


class Entry(NamedTuple):
    """An assignment: from `start` to `end` all its lines, its value between `at` and `to`."""

    key: str
    value: str
    start: int
    at: int
    to: int
    end: int


def parse(text: str) -> dict[str, Any]:
    """The value of each key. Raises ValueError naming the line that is no assignment."""
    return {entry.key: entry.value for entry in _entries(text)}


def merged(text: str, wanted: Mapping[str, Any]) -> str:
    """The text with these values; a new key gets a line at the end. Raises ValueError for a value it cannot hold."""
    there = {entry.key: entry for entry in _entries(text)}
    changed = [there[key] for key, value in wanted.items() if key in there and there[key].value != value]
    for entry in sorted(changed, key=lambda entry: -entry.start):
        text = text[: entry.at] + _spelled(wanted[entry.key]) + text[entry.to :]
    end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    new = [f"{key}={_spelled(value)}{end}" for key, value in wanted.items() if key not in there]
    if new and text.removeprefix("\ufeff") and not text.endswith("\n"):
        text += end
    return text + "".join(new)


def without(text: str, gone: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """The text without the lines of these keys."""
    for entry in reversed(_entries(text)):
        if entry.key in gone:
            text = text[: entry.start] + text[entry.end :]
    return text


def _entries(text: str) -> list[Entry]:
    found = []
    at = 1 if text.startswith("\ufeff") else 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end].rstrip("\r\n")
        if line.strip() and not line.lstrip().startswith("#"):
            entry = _entry(text, at, line, end)
            found.append(entry)
            end = entry.end
        at = end
    return found


def _entry(text: str, start: int, line: str, end: int) -> Entry:
    match = _LINE.fullmatch(line)
    number = text.count("\n", 0, start) + 1
    if not match:
        raise ValueError(f"line {number}: neither a comment nor KEY=value")
    at = start + match.end("head")
    if match["rest"][:1] not in ("'", '"', "`") or not match["rest"]:
        value = match["rest"].partition("#")[0].rstrip()
        return Entry(match["key"], value, start, at, at + len(value), end)
    quoted = _QUOTED.match(text, at)
    if not quoted:
        raise ValueError(f"line {number}: a quote that is never closed")
    end = text.find("\n", quoted.end()) + 1 or len(text)
    rest = text[quoted.end() : end].strip()
    if rest and not rest.startswith("#"):
        raise ValueError(f"line {number}: something follows behind the closing quote")
    value = quoted[0][1:-1]
    if quoted[0][0] == '"':
        value = value.replace("\\n", "\n").replace("\\r", "\r")
    return Entry(match["key"], value, start, at, quoted.end(), end)


def _spelled(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    for quote in "'`":
        if quote not in text and "\\" not in text[-1:]:
            return f"{quote}{text}{quote}"
    raise ValueError("a value has quotes of every kind")
