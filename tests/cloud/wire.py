"""The wire of the emulated cloud: a proxy that ends TLS for every name, and plain http on loopback, on one port."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import trustme

LOOPBACK = "127.0.0.1"


class Request(NamedTuple):
    """What arrived: `host` without a port, names of `headers` in lower case, `form` empty for any other body."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    form: Mapping[str, str]
    body: bytes

    @property
    def bearer(self) -> str:
        """The token of the Authorization header, or an empty string."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""

    @property
    def route(self) -> str:
        return self.host + self.path

    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Misbehaviour(Enum):
    """What a server may do instead of answering."""

    HANG = "it takes the request and says nothing"
    CLOSE = "it takes the request and hangs up"


Reply = Answer | Misbehaviour


def reply(value: object, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def html(status: int = 200, title: str = "Sign in") -> Answer:
    """The page of a login form or of a proxy, where a program expects JSON."""
    page = f"<!doctype html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return Answer(status, page.encode(), {"Content-Type": "text/html; charset=utf-8"})


def redirect(url: str, **query: str) -> Answer:
    return Answer(302, b"", {"Location": f"{url}?{urlencode(query)}" if query else url})


class Wire:
    """Listens on a port of its own and hands every request to `serve`."""

    def __init__(self, serve: Callable[[Request], Reply]) -> None:
        self.serve = serve
        self.over = threading.Event()
        self.ca = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.wire = self
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def tls(self, name: str) -> ssl.SSLContext:
        """What a server of that name shows; each has a certificate of its own, made when it is first asked for."""
        with self._lock:
            if name not in self._contexts:
                self._contexts[name] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self.ca.issue_cert(name).configure_cert(context)
            return self._contexts[name]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    wire: Wire

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle of a sentence is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    server: _Server
    tunnel = ""

    def log_message(self, format: str, *args: object) -> None:
        """The log of the cloud has it."""

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def finish(self) -> None:
        for each in (self.wfile, self.rfile, *((self.connection,) if self.tunnel else ())):
            with suppress(OSError):  # a client that has left keeps none of them open
                each.close()

    def do_CONNECT(self) -> None:
        name = self.path.rpartition(":")[0]
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.tunnel = name
        self.rfile.close()
        self.connection = self.server.wire.tls(name).wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def _answer(self) -> None:
        said = self.server.wire.serve(self._request())
        if isinstance(said, Misbehaviour):
            if said is Misbehaviour.HANG:
                self.server.wire.over.wait()
            self.close_connection = True
            return
        fields = {"Content-Length": str(len(said.body)), **said.headers}
        head = f"HTTP/1.1 {said.status} -\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.wfile.write(head.encode("latin-1") + b"\r\n" + said.body)

    def _request(self) -> Request:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        is_form = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
        return Request(
            method=self.command,
            host=self.tunnel or parts.hostname or LOOPBACK,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            form=dict(parse_qsl(body.decode(), keep_blank_values=True)) if is_form else {},
            body=body,
        )

    do_GET = do_POST = do_PUT = do_HEAD = _answer
