"""A server on loopback: when it listens, how it ends, and how long it waits for a request."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import pytest

from dbx_auth import __version__, loopback
from dbx_auth.loopback import Loopback

Message = MutableMapping[str, Any]


class App:
    """Answers `ok`, once it may: a path of `/held` is answered when `go` is set."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.served = 0

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        import anyio.to_thread

        self.asked.set()
        if scope["path"] == "/held":
            await anyio.to_thread.run_sync(self.go.wait, 20)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        self.served += 1


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    made.go.set()


@pytest.fixture
def server(app: App) -> Iterator[Loopback]:
    made = Loopback(app, 0, name="a-name", grace=5)
    yield made
    app.go.set()
    made.stop()


def served(server: Loopback) -> int:
    """The port, when it is served."""
    port = server.listen()
    server.start()
    return port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20)


GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


def ask(connection: socket.socket, path: bytes = b"/") -> bytes:
    connection.sendall(GET % path)
    return answer(connection)


def answer(connection: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"ok"):
        piece = connection.recv(65536)
        assert piece, said
        said += piece
    return said


def test_connections_are_accepted_when_it_returns_and_the_port_is_told(server: Loopback) -> None:
    with connected(served(server)) as connection:
        said = ask(connection)
        assert said.startswith(b"HTTP/1.1 200 ") and f"Server: a-name/{__version__}".encode().lower() in said.lower()
        assert said.lower().count(b"\r\nserver:") == 1
        assert ask(connection).startswith(b"HTTP/1.1 200 "), "and the connection is kept"


def test_starting_twice_is_starting_once(server: Loopback) -> None:
    assert served(server) == served(server) and server.start() is server.start()


def test_who_connects_before_it_is_started_has_an_answer_then(server: Loopback) -> None:
    with connected(server.listen()) as connection:
        connection.sendall(GET % b"/")
        server.start()
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_what_was_never_started_gives_its_port_back_too(server: Loopback) -> None:
    port = server.listen()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        connected(port)


def test_it_has_its_port_again_when_it_is_started_again(server: Loopback) -> None:
    ports = set()
    for _ in range(3):
        ports.add(served(server))
        with connected(*ports) as connection:
            ask(connection)
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            connected(*ports)
    assert len(ports) == 1


def test_a_port_that_is_taken_is_an_error_and_starts_nothing(app: App) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = Loopback(app, taken.getsockname()[1], name="x", grace=1)
        before = threading.active_count()
        with pytest.raises(OSError):
            other.listen()
        assert threading.active_count() == before
        other.stop()


def test_stopping_what_does_not_run_is_harmless(server: Loopback) -> None:
    server.stop()
    served(server)
    server.stop()
    server.stop()


def test_an_answer_that_has_begun_is_finished(server: Loopback, app: App) -> None:
    with connected(served(server)) as connection:
        connection.sendall(GET % b"/held")
        assert app.asked.wait(20)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        app.go.set()
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
        stopping.join(20)
    assert app.served == 1 and not stopping.is_alive()


# ---- in the foreground -----------------------------------------------------------------------------------------------


def test_it_serves_until_what_it_is_for_has_ended(server: Loopback) -> None:
    port, looked = served(server), []

    def goes_on() -> bool:
        with connected(port) as connection:
            looked.append(ask(connection))
        return len(looked) < 3

    server.serve_forever(goes_on)
    assert len(looked) == 3
    with pytest.raises(ConnectionRefusedError):
        connected(port)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_is_then_whoever_s_it_was_before(server: Loopback, number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def goes_on() -> bool:
        signal.raise_signal(number)
        return True

    server.serve_forever(goes_on)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_stop_from_elsewhere_ends_it(server: Loopback) -> None:
    stopping: list[threading.Thread] = []

    def goes_on() -> bool:
        if not stopping:
            stopping.append(threading.Thread(target=server.stop))
            stopping[0].start()
        return True

    server.serve_forever(goes_on)
    stopping[0].join(20)


def test_whatever_goes_wrong_meanwhile_it_does_not_stay(server: Loopback) -> None:
    before, port = signal.getsignal(signal.SIGTERM), served(server)

    def goes_on() -> bool:
        raise RuntimeError("the end")

    with pytest.raises(RuntimeError, match="the end"):
        server.serve_forever(goes_on)
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ConnectionRefusedError):
        connected(port)


# ---- patience --------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(loopback, "HEAD", 0.2)
    return served(server)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_who_connects_and_sends_no_head_is_let_go(impatient: int, app: App, sent: bytes) -> None:
    with connected(impatient) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b"" and app.served == 0


def test_without_the_deadline_it_would_stay(impatient: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "HEAD", 600.0)
    with connected(impatient) as connection:
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_head_that_drips_has_no_more_time_than_any_other(impatient: int) -> None:
    with connected(impatient) as connection, pytest.raises(ConnectionError):
        for byte in GET % (b"/" + b"x" * 2000):
            connection.sendall(bytes([byte]))
            time.sleep(0.01)


def test_an_answer_may_take_as_long_as_it_takes(impatient: int, app: App) -> None:
    with connected(impatient) as connection:
        connection.sendall(GET % b"/held")
        assert app.asked.wait(20)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        app.go.set()
        connection.settimeout(20)
        assert answer(connection)


def test_a_connection_that_is_kept_may_pause_and_the_next_head_has_a_deadline_too(impatient: int) -> None:
    with connected(impatient) as connection:
        ask(connection)
        time.sleep(0.5)  # longer than a head may take
        ask(connection)
        connection.sendall(b"GET /")
        assert connection.recv(1) == b""


def test_requests_that_are_sent_at_once_are_answered_in_turn(impatient: int) -> None:
    with connected(impatient) as connection:
        connection.sendall(GET % b"/" * 3)
        said = b""
        while said.count(b"ok") < 3:
            said += connection.recv(65536)


def test_what_is_no_request_is_refused(impatient: int, app: App) -> None:
    with connected(impatient) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ") and app.served == 0
