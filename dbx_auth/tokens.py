"""Token and its freshness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

AIM = 300.0
"""Seconds of life a token should have left; below it we refresh. The Databricks CLI aims for the same."""

FLOOR = 40.0
"""Seconds of life below which a token is not handed out: the server refuses 30 s or less, and a request takes time."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, what kind it is, until when it lives and who gave it.

    `expires_at` is in epoch seconds, None for a token that does not expire. The value is left out of repr and
    str, so that printing a token by accident shows nothing.
    """

    value: str = field(repr=False)
    expires_at: float | None = None
    auth_type: str = ""
    origin: str = ""
    host: str = ""
    token_type: str = "Bearer"

    def life(self, now: float) -> float:
        """Seconds left at `now` (epoch seconds); infinite for a token that does not expire."""
        return math.inf if self.expires_at is None else self.expires_at - now

    @property
    def headers(self) -> Mapping[str, str]:
        """What a request to the workspace must carry."""
        return {"Authorization": f"{self.token_type} {self.value}"}
