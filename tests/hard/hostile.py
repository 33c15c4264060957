"""A server on loopback that answers with any bytes at all, and remembers what it was asked.

    with Hostile({TOKEN: [BUSY, tokens()]}) as server:
        ...
        assert len(server.posts) == 2

Every answer ends by itself when the client has gone, and in any case when the server is closed.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

from unit.stubs import Script, http

TOKEN = "/oidc/v1/token"
CONFIG = "/.well-known/databricks-config"
DOCUMENT = "/oidc/.well-known/oauth-authorization-server"
ME = "/api/2.0/preview/scim/v2/Me"
ENDPOINTS = "/api/2.0/serving-endpoints"

Answer = bytes | Script
"""What comes back for one request: bytes, or what is done with the connection."""

LONGEST = 64 << 20
"""Bytes that an endless answer ends after, should nobody hang up."""


class Asked(NamedTuple):
    """One request as it came in, and when (on the clock of `time.monotonic`)."""

    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Hostile:
    """Each path has an answer, or several that are given in turn, the last one for ever; any other path gets a 404."""

    def __init__(self, answers: Mapping[str, Answer | list[Answer]]) -> None:
        self.asked: list[Asked] = []
        self._answers = {path: list(a) if isinstance(a, list) else [a] for path, a in answers.items()}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hostile = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.netloc = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.netloc}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def posts(self) -> list[dict[str, str]]:
        """The forms that were sent."""
        return [asked.form for asked in self.asked if asked.method == "POST"]

    def gaps(self) -> list[float]:
        """The seconds between one POST and the next."""
        times = [asked.at for asked in self.asked if asked.method == "POST"]
        return [later - sooner for sooner, later in zip(times, times[1:], strict=False)]

    def serve(self, connection: socket.socket, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)
            left = self._answers.get(asked.path.partition("?")[0], [http(b"", "404 Not Found")])
            answer = left[0] if len(left) == 1 else left.pop(0)
        if callable(answer):
            answer(connection, self._over)
        else:
            connection.sendall(answer)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 50
    hostile: Hostile

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what most of these answers are for."""


class _Handler(socketserver.StreamRequestHandler):
    timeout = 40
    server: _Server

    def handle(self) -> None:
        with suppress(OSError, ValueError):
            line = self.rfile.readline(65_537).decode("latin-1").split()
            headers = dict(self._headers())
            body = self.rfile.read(int(headers.get("content-length", 0)))
            self.server.hostile.serve(self.connection, Asked(time.monotonic(), line[0], line[1], headers, body))

    def _headers(self) -> Iterator[tuple[str, str]]:
        while (line := self.rfile.readline(65_537).decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()


# ---- answers -------------------------------------------------------------------------------------------------------


def said(body: object, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer in JSON."""
    return http(json.dumps(body).encode(), status, "Content-Type: application/json", *headers)


def tokens(**fields: Any) -> bytes:
    """What a token endpoint gives; None takes a field away."""
    body = {"access_token": "new-access", "token_type": "Bearer", "refresh_token": "new-refresh", "expires_in": 3600}
    return said({name: value for name, value in {**body, **fields}.items() if value is not ...})


def refused(error: str, description: str = "", status: str = "400 Bad Request") -> bytes:
    return said({"error": error, "error_description": description}, status)


def gzipped(size: int) -> bytes:
    """A gzip of so many zeros, between the quotes of a JSON text, that is a thousandth of it."""
    packer = zlib.compressobj(9, wbits=31)
    megabyte = b"0" * (1 << 20)
    parts = [packer.compress(b'{"access_token":"'), *(packer.compress(megabyte) for _ in range(size >> 20))]
    return b"".join([*parts, packer.compress(b'"}'), packer.flush()])


def bomb(size: int) -> bytes:
    """An answer in a compression that nobody asked for."""
    return http(gzipped(size), "200 OK", "Content-Encoding: gzip", "Content-Type: application/json")


def endless(head: bytes = b"HTTP/1.1 200 OK\r\n\r\n", piece: bytes = b"x" * 65_536) -> Script:
    """The same piece again and again, as fast as it is taken."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        for _ in range(LONGEST // len(piece)):
            if over.is_set():
                break
            connection.sendall(piece)

    return script


def slow(answer: bytes, seconds: float = 1.0, at_once: int = 0) -> Script:
    """One byte, a pause, one byte …; the first `at_once` bytes come together."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(answer[:at_once])
        for byte in answer[at_once:]:
            connection.sendall(bytes([byte]))
            if over.wait(seconds):
                break

    return script
