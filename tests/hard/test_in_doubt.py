"""A request that went out, and no answer: the server may have spent the refresh token, and nobody can tell."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from hard.flight import (
    FILES,
    CliFile,
    Flight,
    Held,
    OwnFile,
    Store,
    changed,
    flying,
    hashed,
    holds_text,
    named,
    numbered,
)
from hard.hostile import CONFIG, DOCUMENT, TOKEN, Answer, Hostile, refused
from machine import Machine, Result
from unit.stubs import http, reset, silence

BUDGET = 30.0
"""Seconds for one refresh, whatever it takes."""

SERVES = 200.0
"""Seconds that are left of a token that is to be renewed, and still good."""


def hangs_up(connection: socket.socket, over: threading.Event) -> None:
    """Says nothing, and that is the end of it."""


DOUBTFUL: dict[str, Answer] = {
    "hangs up": hangs_up,
    "breaks the connection": reset(b""),
    "breaks off in the middle": reset(numbered(9)[:-20]),
    "says less than it promised": numbered(9)[:-20],
    "500": http(b"", "500 Internal Server Error"),
    "502": http(b"<html>", "502 Bad Gateway"),
    "504": http(b"", "504 Gateway Timeout"),
    "broken JSON": http(b'{"access_token": "acc', "200 OK", "Content-Type: application/json"),
}


def ask(store: Store, *argv: str, program: str = changed()) -> Result:
    argv = argv or ("token",)
    with flying(store.machine, *argv, program=program, DATABRICKS_HOST=store.host) as flight:
        return flight.ended()


def is_claimed(store: Store, refresh: str) -> bool:
    """Whether it is written down, by hash alone, that this refresh token is being spent."""
    assert holds_text(store.folder, refresh) == []
    return any(hashed(refresh).startswith(key) for key in store.claims or {})


@pytest.mark.parametrize("name", DOUBTFUL)
@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_token_that_still_serves_is_served_and_the_server_is_left_alone(
    machine: Machine, file: type[Store], name: str
) -> None:
    with Hostile({TOKEN: DOUBTFUL[name]}) as server:
        store = file(machine, server.url)
        before = store.put("serves", "doubtful", SERVES)
        result = ask(store)
        assert (result.code, result.out, len(server.posts)) == (0, "serves\n", 1), result
        assert "warning: the token was not renewed and ends in " in result.err
        assert store.held() == before and is_claimed(store, "doubtful") and store.temporary() == []
        again = ask(store)
        assert (again.code, again.out, len(server.posts)) == (0, "serves\n", 1), "and it is not asked all the time"


@pytest.mark.parametrize("name", DOUBTFUL)
@pytest.mark.parametrize("file", FILES, ids=named)
def test_without_one_it_is_asked_once_more_and_then_once_in_each_run(
    machine: Machine, file: type[Store], name: str
) -> None:
    with Hostile({TOKEN: [DOUBTFUL[name]] * 3 + [numbered(1)]}) as server:
        store = file(machine, server.url)
        before = store.put("ended", "doubtful")
        for posts in (2, 3):
            result = ask(store)
            assert (result.code, result.out, len(server.posts)) == (6, "", posts), result
            assert "hint: " in result.err and "Traceback" not in result.err
            assert store.held() == before and is_claimed(store, "doubtful") and store.temporary() == []
        assert [post["refresh_token"] for post in server.posts] == ["doubtful"] * 3

        result = ask(store)
        assert (result.code, result.out, len(server.posts)) == (0, "access-1\n", 4), result
        assert store.held() == Held("access-1", "refresh-1") and not store.claims


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_doubt_that_ends_in_a_refusal_is_over(machine: Machine, file: type[Store]) -> None:
    with Hostile({TOKEN: [hangs_up, hangs_up, refused("invalid_grant", "spent")]}) as server:
        store = file(machine, server.url)
        before = store.put("ended", "doubtful")
        assert ask(store).code == 6 and is_claimed(store, "doubtful")
        for _ in range(2):
            result = ask(store, "token", "-o", "json")
            assert (result.code, result.json()["retryable"], len(server.posts)) == (4, False, 3), result
            assert f"hint: dbx-auth login {store.host}" in result.err
            assert store.held() == before and not store.claims
        store.put("ended", "of a new login")
        server._answers[TOKEN] = [numbered(2)]
        assert ask(store).out == "access-2\n"


def test_a_doubt_that_nobody_remembers_is_asked_about_twice_in_each_run(machine: Machine) -> None:
    """The negative control: it is the claim that keeps the next run from it."""
    forgetful = changed("from dbx_auth.journal import Journal\nJournal.is_claimed = lambda self, refresh: False")
    with Hostile({TOKEN: hangs_up}) as server:
        store = CliFile(machine, server.url)
        store.put("ended", "doubtful")
        assert [(ask(store, program=forgetful).code, len(server.posts)) for _ in range(2)] == [(6, 2), (6, 4)]


def test_the_doubt_is_told_to_programs_as_something_that_may_pass(machine: Machine) -> None:
    with Hostile({TOKEN: hangs_up}) as server:
        store = OwnFile(machine, server.url)
        store.put("ended", "doubtful")
        told = ask(store, "token", "-o", "json").json()
        assert (told["error_code"], told["retryable"]) == ("TEMPORARY", True)


# ---- nothing was sent ------------------------------------------------------------------------------------------------


class Leaving(Hostile):
    """Tells where its token endpoint is, and is gone; it may come back, or be there and take nobody in."""

    def __init__(self, *, crowded: bool = False) -> None:
        super().__init__({CONFIG: http(b"", "404 Not Found"), DOCUMENT: self._leave, TOKEN: numbered(1)})
        self.back_after = 0.0
        self._crowded = crowded
        self._crowd: list[socket.socket] = []

    def __exit__(self, *_: object) -> None:
        for each in self._crowd:
            each.close()
        super().__exit__()

    def _leave(self, connection: socket.socket, over: threading.Event) -> None:
        address = self._server.server_address
        self._server.shutdown()
        self._server.server_close()
        if self._crowded:
            self._crowd_at(address)
        if self.back_after:
            threading.Timer(self.back_after, self._come_back, (address,)).start()
        connection.sendall(http(b"", "404 Not Found"))

    def _come_back(self, address: object) -> None:
        again = type(self._server)(address, self._server.RequestHandlerClass)  # type: ignore[arg-type]
        again.hostile = self
        self._server = again
        self._thread = threading.Thread(target=again.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _crowd_at(self, address: object) -> None:
        """A listener whose queue is full: the system drops who else knocks, as a firewall does."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(0)
        self._crowd.append(listener)
        for _ in range(2):
            knocking = socket.socket()
            knocking.setblocking(False)
            knocking.connect_ex(address)  # type: ignore[arg-type]
            self._crowd.append(knocking)


def pauses(result: Result) -> list[float]:
    """The seconds between one try and the next, as -v tells them."""
    return [float(seconds) for seconds in re.findall(r"once more in ([\d.]+) s", result.err)]


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_server_that_is_away_is_tried_three_times_more_at_growing_distance(
    machine: Machine, file: type[Store]
) -> None:
    with Leaving() as server:
        store = file(machine, server.url)
        before = store.put("ended", "unspent")
        started = time.monotonic()
        result = ask(store, "-v", "token")
        took = time.monotonic() - started
    assert (result.code, result.out, server.posts) == (6, "", []), result
    between = pauses(result)
    assert len(between) == 3 and between == sorted(set(between)) and sum(between) <= took < BUDGET
    assert store.held() == before and not store.claims and store.temporary() == []


def test_one_that_is_back_in_time_is_used(machine: Machine) -> None:
    with Leaving() as server:
        server.back_after = 0.8
        store = CliFile(machine, server.url)
        store.put("ended", "unspent")
        result = ask(store, "-v", "token")
        assert (result.code, result.out, len(server.posts)) == (0, "access-1\n", 1), result
    assert pauses(result) and store.held() == Held("access-1", "refresh-1") and not store.claims


def test_with_a_single_try_the_same_server_is_missed(machine: Machine) -> None:
    """The negative control of the test above."""
    hasty = changed("from dbx_auth import oauth\noauth.PAUSES = ()")
    with Leaving() as server:
        server.back_after = 0.8
        store = CliFile(machine, server.url)
        store.put("ended", "unspent")
        result = ask(store, "-v", "token", program=hasty)
        assert (result.code, pauses(result), server.posts) == (6, [], []), result


def test_a_host_where_nobody_listens_at_all_costs_no_claim(machine: Machine) -> None:
    with Hostile({}) as server:
        store = OwnFile(machine, server.url)
    before = store.put("ended", "unspent")
    result = ask(store)
    assert (result.code, result.out) == (6, "") and store.held() == before and not store.claims


# ---- time is up ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(150)
def test_silence_is_given_up_in_time(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that takes the request and keeps quiet, and one that does not even take the connection."""
    with ExitStack() as stack:
        cases: list[tuple[Hostile, Store, Held, Flight]] = []
        for number, (file, server) in enumerate([(f, s()) for f in FILES for s in (_quiet, _crowded)]):
            stack.enter_context(server)
            home = machine.home / str(number)
            home.mkdir()
            store = file(Machine(home, capsys), server.url)
            before = store.put("ended", "doubtful")
            env = {"DATABRICKS_HOST": store.host}
            cases.append((server, store, before, stack.enter_context(flying(store.machine, "-v", "token", **env))))
        for server, store, before, flight in cases:
            result = flight.ended(within=60)
            assert (result.code, result.out) == (6, ""), result
            assert flight.took() < BUDGET + 10, "and 5 s for the endpoints, and the start of a program"
            assert len(pauses(result)) == (0 if server.posts else 3), "a connection has 5 s"
            assert store.held() == before and store.temporary() == []
            was_asked = not isinstance(server, Leaving)
            assert len(server.posts) == was_asked
            assert is_claimed(store, "doubtful") == was_asked


def _quiet() -> Hostile:
    return Hostile({TOKEN: silence})


def _crowded() -> Hostile:
    return Leaving(crowded=True)
