"""Connections of an event loop: who asks next gets the one that was used last.

One client of httpx looks at every idle connection it has for each request; with 64 of them that was a third of all that
the gateway did (benchmarks/gateway.py). So here each client has one connection, and only the one that is taken is
looked at.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

import httpx

IDLE = 5.0
"""Seconds for which a connection is kept for the next request, as httpx does."""


class Pool:
    """`opened` makes a client; `now` is a clock, in seconds."""

    def __init__(self, opened: Callable[[], httpx.AsyncClient], now: Callable[[], float]) -> None:
        self._opened = opened
        self._now = now
        self._idle: deque[tuple[httpx.AsyncClient, float]] = deque()
        self._all: weakref.WeakSet[httpx.AsyncClient] = weakref.WeakSet()

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, as soon as it begins; its connection is free again when it is closed. Raises httpx's errors."""
        while self._idle and self._now() - self._idle[0][1] > IDLE:
            await self._idle.popleft()[0].aclose()
        client = self._idle.pop()[0] if self._idle else self._opened()
        self._all.add(client)
        try:
            answer = await client.send(request, stream=True)
        except BaseException:
            self._give_back(client)
            raise
        answer.stream = _Lent(cast(httpx.AsyncByteStream, answer.stream), lambda: self._give_back(client))
        return answer

    async def aclose(self) -> None:
        """Close every connection, also those that are in use."""
        clients = list(self._all)
        self._idle.clear()
        for client in clients:
            await client.aclose()

    def _give_back(self, client: httpx.AsyncClient) -> None:
        if not client.is_closed:
            self._idle.append((client, self._now()))


class _Lent(httpx.AsyncByteStream):
    """The body of an answer; `given_back` is called once, when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, given_back: Callable[[], None]) -> None:
        self._stream = stream
        self._given_back: Callable[[], None] | None = given_back

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        given_back, self._given_back = self._given_back, None
        try:
            await self._stream.aclose()
        finally:
            if given_back:
                given_back()
