"""What each model family refuses, and what it is sent instead: pure functions in a table.

    body, names = fixes.request(facts, "chat", body)
    reply, names = fixes.reply(facts, "chat", reply)
    stream = fixes.Stream(facts, "chat"); event = stream.event(event); more = stream.end()

A row applies to the models whose `quirks` name it (`catalogue.toml`), or to every model. Nothing that is given is
changed: what comes back is the same object, or another one. A body may hold anything, and what has an odd shape is left
as it is, for the family to say what it thinks of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dbx_auth.catalogue import Facts

from .row import Fix, Seen
from .table import TABLE
from .walk import CHAT, GENERATE, MESSAGES, RESPONSES, Body

__all__ = ["CHAT", "GENERATE", "MESSAGES", "RESPONSES", "TABLE", "Body", "Fix", "Fixed", "Stream", "reply", "request"]


class Fixed(NamedTuple):
    """A body, and the names of the rows that changed it."""

    body: Body
    names: tuple[str, ...] = ()


def request(facts: Facts, api: str, body: Body) -> Fixed:
    """What to send in place of `body`, through `api`, to a model of which these `facts` are known."""
    names = []
    for row in _rows(facts, api):
        if row.request and (new := row.request(body, api, facts)) is not body:
            body = new
            names.append(row.name)
    return Fixed(body, tuple(names))


def reply(facts: Facts, api: str, body: Body) -> Fixed:
    """What to hand on in place of a whole answer."""
    names = []
    for row in _rows(facts, api):
        if row.reply and (new := row.reply(body)) is not body:
            body = new
            names.append(row.name)
    return Fixed(body, tuple(names))


class Stream:
    """The events of one stream, one after the other; `names` are the rows that changed one."""

    def __init__(self, facts: Facts, api: str) -> None:
        self._rows = [row for row in _rows(facts, api) if row.event or row.end]
        self._seen = Seen()
        self.names: set[str] = set()

    def event(self, event: Body) -> Body:
        """What to hand on in place of this event."""
        for row in self._rows:
            if row.event and (new := row.event(event, self._seen)) is not event:
                event = new
                self.names.add(row.name)
        return event

    def end(self) -> list[Body]:
        """The events that are missing at the end."""
        found = [(row.name, row.end(self._seen)) for row in self._rows if row.end]
        self.names.update(name for name, event in found if event)
        return [event for _, event in found if event]


def _rows(facts: Facts, api: str) -> Iterator[Fix]:
    return (row for row in TABLE if api in row.apis and (not row.quirk or row.quirk in facts.quirks))
