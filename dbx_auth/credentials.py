"""The library's way in: credentials of this machine, and a fresh token whenever one is asked for."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Awaitable, Callable

from . import profile as profiles, resolve
from .errors import ConfigError, Temporary
from .tokens import AIM, FLOOR, Demand, Token
from .world import World

LONGEST = 30.0
"""Seconds for which a server that wants to be left alone is: a person may log in anew meanwhile."""

_all: weakref.WeakSet[Credentials] = weakref.WeakSet()


def _after_fork() -> None:
    """Another thread may have held these when this process was forked, and here it will never let go."""
    for credentials in list(_all):
        credentials._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Credentials:
    """The credentials that `dbx-auth` would use for this profile and host.

    `min_ttl` is how many seconds of life a token has left when it is handed out; the default is what we aim for,
    any other is a promise. Safe to share between threads and with forked children: however many ask, one renews.
    """

    def __init__(
        self, profile: str | None = None, host: str | None = None, *, min_ttl: float = AIM, world: World | None = None
    ) -> None:
        self._flags = profiles.Flags(profile or "", host or "")
        self._min_ttl = min_ttl
        self.world = world or World.system()
        self._lock = threading.Lock()
        self._held: Token | None = None
        self._failed: tuple[Temporary, float] | None = None
        _all.add(self)

    @classmethod
    def of(cls, flags: profiles.Flags, world: World) -> Credentials:
        """Those that a command was asked for."""
        found = cls(world=world)
        found._flags = flags
        return found

    @property
    def host(self) -> str:
        """The workspace, as `https://name`; asks nobody. Raises ConfigError when no setting says which."""
        host = self._held.host if self._held else profiles.load(self.world, self._flags).host
        if not host:
            raise ConfigError("no setting says which host", hint="export DATABRICKS_HOST=https://<your workspace>")
        return host

    def token(self, *, rejected: str = "") -> Token:
        """A fresh token; `rejected` is one that a server has just refused, and any other will do.

        Raises LoginRequired when a person must log in, Temporary when trying again may help, and the other errors
        of `dbx_auth.AuthError` for what has to be put right.
        """
        began = self.world.monotonic()
        with self._lock:
            held = self.held()
            if held and held.value != rejected:
                return held  # spares the files; a token that another process renewed meanwhile does not end this one
            if self._failed and began <= self._failed[1] + self._wait(self._failed[0]):
                raise self._failed[0]
            resolve.load()
            demand = Demand(None if self._min_ttl == AIM else self._min_ttl, rejected=rejected)
            try:
                self._held = resolve.token(profiles.load(self.world, self._flags), self.world, demand)
            except Temporary as error:
                self._failed = error, self.world.monotonic()
                raise
            return self._held

    @staticmethod
    def _wait(error: Temporary) -> float:
        """Seconds for which nobody asks again: who waited meanwhile does not, and the server may have said how long."""
        return min(error.retry_after or 0.0, LONGEST)

    def held(self) -> Token | None:
        """The token of the last time while it is fresh, without waiting for anything; None where it is not."""
        held = self._held
        return held if held and held.life(self.world.now()) >= max(self._min_ttl, FLOOR) else None

    def settle(self, seconds: float) -> None:
        """Wait while a token is being renewed, so many seconds at most: who leaves in the middle may lose a login."""
        if self._lock.acquire(timeout=seconds):
            self._lock.release()

    def headers(self) -> dict[str, str]:
        """The headers that a request to the workspace must carry."""
        return dict(self.token().headers)


def token_provider(credentials: Credentials | None = None) -> Callable[[], str]:
    """A function that returns a fresh token each time: what openai's `api_key=` takes, for one."""
    source = credentials or Credentials()
    return lambda: source.token().value


def async_token_provider(credentials: Credentials | None = None) -> Callable[[], Awaitable[str]]:
    """The same for `AsyncOpenAI(api_key=…)`: a function to be awaited. A renewal is waited for in a thread."""
    source = credentials or Credentials()

    async def provide() -> str:
        if held := source.held():
            return held.value
        import anyio.to_thread

        return (await anyio.to_thread.run_sync(source.token)).value

    return provide
