"""Token and its freshness: how much life one has, and how much somebody demands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

AIM = 300.0
"""Seconds of life a token should have left; below it we refresh. The Databricks CLI aims for the same."""

FLOOR = 40.0
"""Seconds of life below which a token is not handed out: the server refuses 30 s or less, and a request takes time."""


def is_one_word(value: str) -> bool:
    """Whether this can be a token: something that a header can carry (RFC 6750, 2.1)."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


@dataclass(frozen=True)
class Token:
    """An access token, what kind it is, until when it lives and who gave it.

    `expires_at` is in epoch seconds, None for a token that does not expire; `refreshable` says whether we can get
    the next one without a person; `extra` are the headers that must go beside it. Both secrets are left out of repr
    and str, so that printing a token by accident shows nothing.
    """

    value: str = field(repr=False)
    expires_at: float | None = None
    auth_type: str = ""
    origin: str = ""
    host: str = ""
    token_type: str = "Bearer"
    refreshable: bool = False
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    def life(self, now: float) -> float:
        """Seconds left at `now` (epoch seconds); infinite for a token that does not expire."""
        return math.inf if self.expires_at is None else self.expires_at - now

    @property
    def headers(self) -> Mapping[str, str]:
        """What a request to the workspace must carry."""
        return {"Authorization": f"{self.token_type} {self.value}", **self.extra}

    @property
    def subject(self) -> str:
        """Something that stays the same for one identity and tells nothing of the secret.

        A JWT names its subject (RFC 7519, 4.1.2); for any other token it is a hash, so a new token is a new one.
        """
        import hashlib

        return str(claims(self.value).get("sub") or "") or hashlib.sha256(self.value.encode()).hexdigest()


class Demand(NamedTuple):
    """What the caller asks of a token.

    `min_ttl` seconds of life or an error (None aims for AIM, and takes what there is); `force` a renewal; `renew`
    False to ask nothing of the network; `rejected` an access token that a server has just refused; `ephemeral` a
    renewal even where it cannot be kept.
    """

    min_ttl: float | None = None
    force: bool = False
    renew: bool = True
    rejected: str = ""
    ephemeral: bool = False

    def __repr__(self) -> str:
        return f"Demand(min_ttl={self.min_ttl}, force={self.force}, renew={self.renew}, rejected=***)"

    @property
    def aim(self) -> float:
        return AIM if self.min_ttl is None else max(self.min_ttl, FLOOR)


def claims(token: str) -> dict[str, object]:
    """What a JWT says, empty when it is none. Nothing is verified: nobody is let in by what it says."""
    import base64
    import json

    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def parse_expiry(value: object) -> float | None:
    """Epoch seconds of an expiry as the field writes it, or None where it says "never".

    Takes RFC 3339 with nanoseconds, with `Z`, an offset or no zone (then UTC, as the Go SDK reads it), with a space
    in place of the `T`; epoch seconds and epoch milliseconds, also as strings. A year 1 is Go's zero time: never.
    Raises ValueError for anything else.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and not _is_number(value.strip()):
        seconds = _parse_time(value.strip())
    elif isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("an expiry is a time or a number")
    else:
        try:
            seconds = float(value)
        except OverflowError:
            raise ValueError("an expiry is a number of this world") from None
        seconds = seconds / 1000 if seconds > 1e11 else seconds
    # The bounds leave room for any time zone, so that what is read can be written; a NaN is within no bounds.
    if seconds is None or LAST_DAY <= seconds <= LAST_DAY + 2 * 86_400:
        return None
    if not -1e10 < seconds < LAST_DAY:
        raise ValueError("an expiry is a time that a calendar has")
    return seconds


LAST_DAY = 253_402_128_000.0
"""The last days of the year 9999, which some servers write for "never"."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _parse_time(text: str) -> float | None:
    import re
    from datetime import UTC, datetime

    # datetime takes six digits of a second; Go writes up to nine.
    moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    if moment.year == 1:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def format_expiry(expires_at: float) -> str:
    """RFC 3339 in local time with a fraction and an offset: the one form that every Databricks SDK reads rightly.

    The Python SDK drops fraction and offset and takes the rest for local time; the others honour the offset.
    """
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(expires_at, UTC).astimezone()
    return moment.isoformat(timespec="microseconds")
