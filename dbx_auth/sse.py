"""Server-sent events, in bytes: cut a stream into events, and put other data into one.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINES = re.compile(rb"\r\n|\n|\r")

DONE = b"[DONE]"
"""The data of the last event of OpenAI's streams, which is not JSON."""


class Events:
    """Cuts a stream into events as they come: `feed` it with what has arrived, and take `rest` when it has ended.

    An event is all its bytes, the empty line at its end included.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that are whole now."""
        self._held += data
        start = 0
        for end in _END.finditer(self._held, max(0, self._seen - 3)):
            if end.end() == len(self._held) and self._held.endswith(b"\r"):
                break  # the other half of a line break may be on its way
            yield bytes(self._held[start : end.end()])
            start = end.end()
        del self._held[:start]
        self._seen = len(self._held)

    def rest(self) -> bytes:
        """What has come since the last event: nothing, or the beginning of one that was cut off."""
        left = bytes(self._held)
        self._held.clear()
        self._seen = 0
        return left


def data_of(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None for one that has none, such as a comment."""
    lines = [line.partition(b":")[2] for line in _LINES.split(event) if line == b"data" or line.startswith(b"data:")]
    return b"\n".join(line.removeprefix(b" ") for line in lines) if lines else None


def with_data(event: bytes, data: Mapping[str, Any]) -> bytes:
    """The event with this data in place of its own; its name, its id and comments stay."""
    others = [line for line in _LINES.split(event) if line and line != b"data" and not line.startswith(b"data:")]
    return b"".join(line + b"\n" for line in [*others, b"data: " + dumped(data), b""])


def dumped(data: Mapping[str, Any]) -> bytes:
    """JSON on one line, as short as it gets; what cannot be UTF-8 stays escaped."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON may hold
        return json.dumps(data, separators=(",", ":")).encode()


def loaded(data: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for anything else, which is handed on as it is."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
