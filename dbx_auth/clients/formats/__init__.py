"""The formats that clients keep their settings in: a table of modules with the same three functions.

`parse(text)` is what the text says, `merged(text, wanted)` the text with these values as well, and
`without(text, gone, kept)` the text without these keys. All three raise ValueError for a text they cannot take, and
name the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from . import dotenv, jsonc, toml


class Format(Protocol):
    """What the three have in common."""

    def parse(self, text: str) -> dict[str, Any]: ...
    def merged(self, text: str, wanted: Mapping[str, Any]) -> str: ...
    def without(self, text: str, gone: Mapping[str, Any], kept: Mapping[str, Any]) -> str: ...


FORMATS: dict[str, Format] = {"json": jsonc, "toml": toml, "dotenv": dotenv}
