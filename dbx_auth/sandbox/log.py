"""What the sandbox was asked: enough to judge a client by, and nothing secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

LIMIT = 10_000


class Request(NamedTuple):
    """One request as it was answered; `path` has no query, `grant_type` is set for token requests only."""

    method: str
    path: str
    status: int
    grant_type: str | None = None


def note(requests: list[Request], request: Request) -> None:
    """Add a request to the list, and let go of the oldest when there are very many."""
    requests.append(request)
    del requests[:-LIMIT]


def as_json(requests: Iterable[Request]) -> dict[str, Any]:
    return {
        "version": 1,
        "requests": [{k: v for k, v in request._asdict().items() if v is not None} for request in requests],
    }
