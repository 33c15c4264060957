"""One row of the table of fixes, and what a stream is remembered by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dbx_auth.catalogue import Facts

from .walk import Body


@dataclass
class Seen:
    """What has gone by in a stream: by choice, whether tools are called and whether it has ended; item ids by place."""

    head: Body = field(default_factory=dict)
    calling: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    names: dict[tuple[int, int], Body] = field(default_factory=dict)
    items: dict[Any, str] = field(default_factory=dict)


class Fix(NamedTuple):
    """One row. `sent`, `answered` and `instead` are for people; `evidence` is where it was seen.

    `quirk` is what a model's facts must name; empty for every model. `request` changes a body, `reply` a whole answer,
    `event` one event of a stream, and `end` gives the event that is missing when a stream has ended.
    """

    name: str
    apis: tuple[str, ...]
    sent: str
    answered: str
    instead: str
    evidence: str
    quirk: str = ""
    request: Callable[[Body, str, Facts], Body] | None = None
    reply: Callable[[Body], Body] | None = None
    event: Callable[[Body, Seen], Body] | None = None
    end: Callable[[Seen], Body | None] | None = None
