"""The connections of an event loop: as few as are needed, the one that was used last first, none for long."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import httpx
import pytest
from unit.stubs import ByteServer

from dbx_auth.pool import IDLE, Pool

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Place:
    """A server that keeps its connections; `asked` says for each request by which of them it came."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.closed = threading.Semaphore(0)
        self.answering = threading.Event()
        self.answering.set()
        self._opened = 0

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        self._opened += 1
        number = self._opened
        connection.settimeout(20)
        with suppress(OSError):
            while True:
                self.asked.append(number)
                self.answering.wait(20)
                connection.sendall(ANSWER)
                if not connection.recv(65_536):
                    break
        self.closed.release()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


Work = Callable[[Pool, str], Awaitable[None]]


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(place: Place, clock: Clock) -> Iterator[Callable[[Work], None]]:
    with ByteServer(place) as server:

        async def with_a_pool(work: Work) -> None:
            pool = Pool(lambda: httpx.AsyncClient(trust_env=False, verify=False, timeout=20), clock)
            try:
                await work(pool, server.url)
            finally:
                await pool.aclose()

        yield lambda work: asyncio.run(with_a_pool(work))


async def begin(pool: Pool, url: str) -> httpx.Response:
    return await pool.send(httpx.Request("GET", url, extensions={"timeout": {"connect": 20, "read": 20}}))


async def whole(pool: Pool, url: str) -> bytes:
    answer = await begin(pool, url)
    try:
        return await answer.aread()
    finally:
        await answer.aclose()


def test_one_after_the_other_goes_by_one_connection(run: Callable[[Work], None], place: Place) -> None:
    async def work(pool: Pool, url: str) -> None:
        assert [await whole(pool, url) for _ in range(5)] == [b"{}"] * 5

    run(work)
    assert place.asked == [1] * 5


def test_as_many_at_a_time_as_somebody_asks_for(run: Callable[[Work], None], place: Place) -> None:
    """httpx's own pool has room for a hundred, and whoever comes next waits for one that may be a long stream."""

    async def work(pool: Pool, url: str) -> None:
        answers = [await begin(pool, url) for _ in range(120)]
        assert len(set(place.asked)) == 120
        for answer in answers:
            await answer.aclose()

    run(work)


def test_the_one_that_was_used_last_is_taken_first(run: Callable[[Work], None], place: Place) -> None:
    async def work(pool: Pool, url: str) -> None:
        one, two = await begin(pool, url), await begin(pool, url)
        for answer in (two, one):
            await answer.aread()
            await answer.aclose()
        await whole(pool, url)
        await whole(pool, url)

    run(work)
    assert place.asked == [1, 2, 1, 1]


def test_what_has_been_idle_for_long_is_closed_when_somebody_asks(
    run: Callable[[Work], None], place: Place, clock: Clock
) -> None:
    async def work(pool: Pool, url: str) -> None:
        for answer in [await begin(pool, url) for _ in range(3)]:
            await answer.aread()
            await answer.aclose()
        clock.now += IDLE - 1
        await whole(pool, url)  # by the third
        assert not place.closed.acquire(timeout=0.1)
        clock.now += 2
        await whole(pool, url)
        for _ in range(2):
            assert await asyncio.to_thread(place.closed.acquire, True, 20)
        assert not place.closed.acquire(timeout=0.1)

    run(work)
    assert place.asked[3:] == [3, 3]


def test_an_answer_has_its_connection_to_itself_until_it_is_closed(run: Callable[[Work], None], place: Place) -> None:
    async def work(pool: Pool, url: str) -> None:
        answer = await begin(pool, url)
        await whole(pool, url)
        assert await answer.aread() == b"{}"
        await answer.aclose()
        await answer.aclose()
        for _ in range(2):
            await begin(pool, url)

    run(work)
    assert sorted(place.asked) == [1, 1, 2, 2], "closed twice, it was not given back twice"


def test_who_gives_up_leaves_no_connection_behind(run: Callable[[Work], None], place: Place) -> None:
    async def work(pool: Pool, url: str) -> None:
        place.answering.clear()
        asking = asyncio.ensure_future(whole(pool, url))
        while not place.asked:
            await asyncio.sleep(0.01)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        place.answering.set()
        assert await asyncio.to_thread(place.closed.acquire, True, 20)
        assert await whole(pool, url) == b"{}"

    run(work)
    assert place.asked == [1, 2]


def test_closing_closes_what_is_idle_and_what_is_in_use(run: Callable[[Work], None], place: Place) -> None:
    async def work(pool: Pool, url: str) -> None:
        held = await begin(pool, url)
        await whole(pool, url)
        await pool.aclose()
        for _ in range(2):
            assert await asyncio.to_thread(place.closed.acquire, True, 20)
        await held.aclose()
        assert await whole(pool, url) == b"{}", "and it can be used again"

    run(work)
    assert place.asked == [1, 2, 3]
