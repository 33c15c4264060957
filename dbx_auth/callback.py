"""Where the browser comes back to: a server on loopback that takes one answer to one question (RFC 8252, 7.3)."""

from __future__ import annotations

import hmac
import html
import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .errors import Temporary
from .world import one_line

PORTS = range(8020, 8041)
"""Where the callback may listen; Databricks has `http://localhost:8020` and its neighbours registered."""


class Callback(NamedTuple):
    """What the browser brought back (RFC 6749, 4.1.2; `iss` of RFC 9207)."""

    code: str = ""
    iss: str = ""
    error: str = ""
    description: str = ""

    def __repr__(self) -> str:
        return f"Callback(code=***, iss={self.iss!r}, error={self.error!r})"


def read_callback(query: str, state: str) -> Callback | None:
    """What a callback's query says, or None when it is not the answer to our question."""
    from urllib.parse import parse_qs

    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    if any(len(values) > 1 for values in fields.values()):
        return None
    said = {name: values[0] for name, values in fields.items()}
    if not hmac.compare_digest(said.get("state", "").encode(), state.encode()):
        return None
    if not said.get("code") and not said.get("error"):
        return None
    return Callback(
        said.get("code", ""),
        one_line(said.get("iss")),
        one_line(said.get("error"), 100),
        one_line(said.get("error_description")),
    )


@contextmanager
def listening(state: str) -> Iterator[tuple[int, queue.Queue[Callback]]]:
    """Listen for the callback on both loopback families; yields the port and the queue that answers come into.

    Requests that are not the callback (a favicon, a stranger's state) are refused and listened past. Raises
    Temporary when all ports are taken.
    """
    import threading

    answers: queue.Queue[Callback] = queue.Queue()
    servers = _servers(state, answers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield servers[0].server_address[1], answers
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def _servers(state: str, answers: queue.Queue[Callback]) -> list[Any]:
    import errno
    import socket
    import socketserver
    from http.server import ThreadingHTTPServer

    handler = _handler(state, answers)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        # Elsewhere it only frees the port of a login that has just ended; on Windows it lets others listen in.
        allow_reuse_address = os.name != "nt"
        allow_reuse_port = False

        def server_bind(self) -> None:
            socketserver.TCPServer.server_bind(self)  # HTTPServer's own looks the host's name up, which may take long
            self.server_name, self.server_port = "localhost", self.server_address[1]

    class Server6(Server):
        address_family = socket.AF_INET6

    for port in PORTS:
        try:
            first = Server(("127.0.0.1", port), handler)
        except OSError:
            continue
        try:
            return [first, Server6(("::1", port), handler)]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # no IPv6 on this machine
                return [first]
            first.server_close()
    raise Temporary(
        f"the ports {PORTS[0]} to {PORTS[-1]} are all taken, so the browser cannot come back",
        hint="end a login that still waits, then try again",
    )


def _handler(state: str, answers: queue.Queue[Callback]) -> Any:
    from http.server import BaseHTTPRequestHandler

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds: a browser that connects ahead of need must not hold a thread
        server_version = "dbx-auth"
        sys_version = ""

        def do_GET(self) -> None:
            port = int(self.server.server_address[1])  # type: ignore[index]
            if self.headers.get("Host") not in {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]")}:
                return self.answer(421, "Not here", "This address belongs to a login on this machine.")
            path, _, query = self.path.partition("?")
            if path != "/":
                return self.answer(404, "Not here", "This address only takes the answer to a login.")
            callback = read_callback(query, state)
            if callback is None:
                return self.answer(400, "Not the answer", "This is not the answer to the login that is waiting.")
            try:  # the page first: the program may end as soon as it has the answer
                if callback.error:
                    self.answer(400, "The login was refused", f"{callback.error}: {callback.description}")
                else:
                    self.answer(200, "Back to the terminal", "The browser's part is done. You can close this tab.")
            finally:
                answers.put(callback)

        def refuse(self) -> None:
            self.answer(405, "Not this way", "This address only takes the answer to a login.")

        do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = refuse

        def answer(self, status: int, title: str, text: str) -> None:
            body = page(title, text).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Length": str(len(body)),
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "Connection": "close",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the request line holds the code."""

    return Handler


def page(title: str, text: str) -> str:
    """The page that the browser shows at the end; it loads nothing and runs nothing."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>dbx-auth: {html.escape(title)}</title>
<meta name="viewport" content="width=device-width"><style>
html {{ color-scheme: light dark; font: 1.05rem/1.6 system-ui, sans-serif;
  background: light-dark(#f5f6f8, #14181d); color: light-dark(#1c2733, #e4e8ed) }}
body {{ max-width: 34rem; margin: 18vh auto 0; padding: 0 1.5rem }}
h1 {{ font-size: 1.5rem; margin-bottom: .4rem }} p {{ margin-top: 0; opacity: .85; overflow-wrap: anywhere }}
small {{ opacity: .6 }}
</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p><small>dbx-auth</small></body></html>
"""
