"""A server on loopback that answers byte by byte, for all that a server should never do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

Script = Callable[[socket.socket, threading.Event], object]
"""What is done with a connection once its request is there; the event is set when the test is over."""


def http(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class ByteServer:
    """Reads one request of each connection whole, keeps it in `requests`, and answers with bytes or by a script."""

    def __init__(self, answer: bytes | Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._over = threading.Event()
        self.answer = answer
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.01)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            if self._tls is None:
                self._exchange(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as secured:
                    self._exchange(secured)

    def _exchange(self, connection: socket.socket) -> None:
        request = bytearray()
        while not _whole(request):
            piece = connection.recv(65_536)
            if not piece:
                return
            request += piece
        self.requests.append(bytes(request))
        if callable(self.answer):
            self.answer(connection, self._over)
        else:
            connection.sendall(self.answer)


def _whole(request: bytearray) -> bool:
    if request.startswith(b"\x16"):  # somebody speaks TLS to us
        return True
    head, end, body = bytes(request).partition(b"\r\n\r\n")
    length = next((int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")), 0)
    return bool(end) and len(body) >= length


def silence(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def drip(start: bytes, piece: bytes) -> Script:
    """Send `start`, and then `piece` again and again."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(0.02):
            connection.sendall(piece)

    return script


def flood(start: bytes, piece: bytes) -> Script:
    """Send `start`, and then `piece` as often and as fast as it is taken."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(piece)

    return script


def reset(start: bytes) -> Script:
    """Send `start` and then break the connection, as a machine does that goes down."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


@contextmanager
def nobody() -> Iterator[str]:
    """The address of a port on which nobody listens, and which nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
