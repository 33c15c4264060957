"""A command line as Go's pflag reads it, which the Databricks CLI is made with: its rules, and its words.

https://github.com/spf13/pflag
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

IGNORED = {"log-file", "log-format", "log-level"}
"""What the CLI's own logs go by, and takes a value; here nothing is logged."""

VALUES = {"host", "account-id", "workspace-id", "profile", "timeout", "output"} | IGNORED
SWITCHES = {"force-refresh", "experimental-is-unified-host", "debug", "help", "version"}
SHORT = {"p": "profile", "o": "output", "h": "help", "v": "version"}

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


class Line(NamedTuple):
    """One command line: its words, the last value of each flag, and the first thing that was wrong with it."""

    words: list[str]
    flags: dict[str, str]
    error: str

    def value(self, flag: str) -> str:
        return self.flags.get(flag, "")

    def is_on(self, switch: str) -> bool:
        return self.value(switch) in _TRUE

    @property
    def output(self) -> str:
        return self.value("output").lower()

    @property
    def timeout(self) -> float:
        """Seconds, 0 for no limit."""
        return seconds(self.value("timeout")) or 0.0


def parse(argv: Sequence[str]) -> Line:
    """Flags may stand anywhere, long or short, with their value behind `=`, behind a space or, short, right there."""
    rest, words, flags, error = list(argv), list[str](), dict[str, str](), ""
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word == "-" or not word.startswith("-"):
            words.append(word)
            continue
        try:
            for name, value in _long(word, rest) if word.startswith("--") else _short(word, rest):
                _check(name, value)
                flags[name] = value
        except ValueError as wrong:
            error = error or str(wrong)
    return Line(words, flags, error)


def _long(word: str, rest: list[str]) -> Iterator[tuple[str, str]]:
    name, equals, value = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise ValueError(f"bad flag syntax: {word}")
    if name not in VALUES | SWITCHES:
        raise ValueError(f"unknown flag: --{name}")
    if not equals:
        value = "true" if name in SWITCHES else _next(rest, f"--{name}")
    yield name, value


def _short(word: str, rest: list[str]) -> Iterator[tuple[str, str]]:
    letters = word[1:]
    while letters:
        name, behind = SHORT.get(letters[0]), letters[1:]
        if name is None:
            raise ValueError(f"unknown shorthand flag: '{letters[0]}' in -{letters}")
        if len(behind) > 1 and behind.startswith("="):
            yield name, behind[1:]
        elif name in SWITCHES:
            yield name, "true"
            letters = behind
            continue
        else:
            yield name, behind or _next(rest, f"'{letters[0]}' in -{letters}")
        return


def _next(rest: list[str], flag: str) -> str:
    if not rest:
        raise ValueError(f"flag needs an argument: {flag}")
    return rest.pop(0)


def _check(name: str, value: str) -> None:
    why = ""
    if name in SWITCHES and value not in _TRUE + _FALSE:
        why = f'strconv.ParseBool: parsing "{value}": invalid syntax'
    elif name == "output" and value.lower() not in ("text", "json"):
        why = "accepted arguments are text and json"
    elif name == "timeout" and seconds(value) is None:
        why = f'time: invalid duration "{value}"'
    if why:
        short = next((f"-{letter}, " for letter, long in SHORT.items() if long == name), "")
        raise ValueError(f'invalid argument "{value}" for "{short}--{name}" flag: {why}')


def seconds(text: str) -> float | None:
    """The seconds of a duration as Go writes it (`300s`, `1h30m`), None for what is none."""
    if text == "0":
        return 0.0
    if not re.fullmatch(f"({_DURATION.pattern})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
