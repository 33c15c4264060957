"""What is remembered about the logins of one identity, beside its refresh lock: hashes, and never a token.

A process that dies between the request and the file leaves its claim; a refresh token that the server no longer takes
gets a tombstone, and nobody asks again; a token that has just been renewed is good enough for who wants a new one.
Nothing here is needed to go on: a journal that cannot be read is an empty one.

One thing is kept whole: a grant that could not be written to its store after the old one was spent (`rescue`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from .errors import ConfigError
from .files import read, write_private
from .store import Grant, as_text
from .world import World

RECENT = 10.0
"""Seconds for which a renewed token satisfies whoever asks for a renewal."""

FINAL = 86_400.0
"""Seconds for which nobody asks again about a refresh token that a server has refused."""

PAUSE = 30.0
"""Seconds to leave a server alone that could not renew a token which still serves."""

LONGEST = 64
"""How many entries of a kind are kept, the newest."""


class Journal:
    """The journal of one identity. `paths` are where its lock may be; the first is where it is now."""

    def __init__(self, world: World, paths: Sequence[str]) -> None:
        self._world = world
        self._paths = [os.path.splitext(path)[0] for path in paths]

    # ---- claims and tombstones ---------------------------------------------------------------------------------------

    def claim(self, refresh: str) -> None:
        """Say that this refresh token is being spent. Raises ConfigError when that cannot be written down."""
        self._note(claims=refresh)

    def withdraw(self, refresh: str) -> None:
        """Say that the claim came to no request."""
        self._try(settled=refresh)

    def is_claimed(self, refresh: str) -> bool:
        """Whether somebody spent it and never said what came of it."""
        return self._when("claims", refresh) is not None

    def is_dead(self, refresh: str) -> bool:
        """Whether the server said that it takes this one no longer."""
        return self._within(FINAL, "dead", refresh)

    def bury(self, refresh: str) -> None:
        self._try(dead=refresh, settled=refresh)

    def settle(self, refresh: str, access: str) -> None:
        """Say that the claim came to this access token."""
        self._try(renewed=access, settled=refresh)

    def fail(self, refresh: str, *, in_doubt: bool, for_now: bool) -> None:
        """Say that nothing came of the claim: one that is in doubt stays; `for_now` says that trying again may help."""
        self._try(failed=refresh if for_now else "", settled="" if in_doubt else refresh)

    def is_recent(self, access: str) -> bool:
        """Whether this access token was renewed a moment ago."""
        return self._within(RECENT, "renewed", access)

    def has_failed(self, refresh: str) -> bool:
        """Whether a renewal with this refresh token failed a moment ago."""
        return self._within(PAUSE, "failed", refresh)

    def _within(self, seconds: float, kind: str, secret: str) -> bool:
        when = self._when(kind, secret)
        return when is not None and abs(self._world.now() - when) <= seconds

    def _when(self, kind: str, secret: str) -> float | None:
        when = _moments(self._read(".json"), kind).get(fingerprint(secret))
        return when if secret else None

    def _try(self, **said: str) -> None:
        try:
            self._note(**said)
        except ConfigError as error:
            self._world.note(f"the journal was not kept: {error}")

    def _note(self, *, settled: str = "", **said: str) -> None:
        data, now = self._read(".json"), self._world.now()
        new: dict[str, dict[str, float]] = {}
        for kind in ("claims", "dead", "renewed", "failed"):
            moments = _moments(data, kind)
            if kind == "claims":
                moments.pop(fingerprint(settled), None)
            if secret := said.get(kind, ""):
                moments.pop(fingerprint(secret), None)
                moments[fingerprint(secret)] = now
            new[kind] = dict(list(moments.items())[-LONGEST:])
        write_private(self._paths[0] + ".json", json.dumps(new).encode())

    # ---- rescue ------------------------------------------------------------------------------------------------------

    def rescue(self, spent: Grant, fresh: Grant) -> bool:
        """Keep what could not be written in place of `spent`, wherever there is room; False where there is none."""
        for path in self._paths:
            kept = self._read(".rescue", path) | {fingerprint(spent.refresh): _rescued(fresh)}
            with suppress(ConfigError):
                write_private(path + ".rescue", json.dumps(dict(list(kept.items())[-LONGEST:])).encode())
                return True
        return False

    def rescued(self, stored: Grant) -> Grant | None:
        """What somebody got for the refresh token of `stored`, and could not write; of several, what ends last."""
        found = [self._read(".rescue", path).get(fingerprint(stored.refresh)) for path in self._paths]
        grants = [_restored(stored, each) for each in found if isinstance(each, dict) and as_text(each.get("access"))]
        if not stored.refresh or not grants:
            return None
        return max(grants, key=lambda grant: math.inf if grant.expires_at is None else grant.expires_at)

    def forget_rescued(self, spent: Grant) -> None:
        """The store has it now."""
        for path in self._paths:
            kept = self._read(".rescue", path)
            if kept.pop(fingerprint(spent.refresh), None) is None:
                continue
            with suppress(ConfigError, OSError):
                if kept:
                    write_private(path + ".rescue", json.dumps(kept).encode())
                else:
                    os.unlink(path + ".rescue")

    def forget(self) -> None:
        """Forget everything: the login is over."""
        for path in self._paths:
            for suffix in (".json", ".rescue"):
                with suppress(OSError):
                    os.unlink(path + suffix)

    def _read(self, suffix: str, path: str = "") -> dict[str, Any]:
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(read((path or self._paths[0]) + suffix, 1 << 20))
            if isinstance(found, dict):
                return found
        return {}


def fingerprint(secret: str) -> str:
    """What stands for a secret where it must not be: the beginning of its SHA-256."""
    import hashlib

    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()[:32]


def _rescued(grant: Grant) -> dict[str, Any]:
    return {"access": grant.access, "refresh": grant.refresh, "expires_at": grant.expires_at}


def _restored(stored: Grant, found: Mapping[str, Any]) -> Grant:
    from dataclasses import replace

    expires = found.get("expires_at")
    return replace(
        stored,
        access=as_text(found["access"]),
        refresh=as_text(found.get("refresh")) or stored.refresh,
        expires_at=None if expires is None else _number(expires),
    )


def _moments(data: dict[str, Any], kind: str) -> dict[str, float]:
    found = data.get(kind)
    return {key: _number(when) for key, when in found.items()} if isinstance(found, dict) else {}


def _number(value: object) -> float:
    """Epoch seconds; long ago, if it is anything else."""
    return value if isinstance(value, float) else 0.0
