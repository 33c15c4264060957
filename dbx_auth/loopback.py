"""A server on loopback for an ASGI application, in a thread: the sandbox's and the gateway's. It needs uvicorn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    import uvicorn

HEAD = 10.0
"""Seconds in which the head of a request has to arrive, from the first byte or from the connection on."""

KEEP_ALIVE = 75
"""Seconds for which a connection is kept for the next request."""


class Loopback:
    """Serves `app` on 127.0.0.1 at `port`, 0 for any free one; one that was stopped can be started again.

    `name` is what it calls itself in the header Server; `grace` how many seconds answers that have begun may go on
    when it is stopped.
    """

    def __init__(self, app: Any, port: int, *, name: str, grace: int) -> None:
        self._app = app
        self._port = port
        self._name = name
        self._grace = grace
        self._listener: socket.socket | None = None
        self._running: tuple[uvicorn.Server, threading.Thread] | None = None

    def listen(self) -> int:
        """Take the port, and return it; who connects has an answer after `start`. OSError if it is taken."""
        import socket

        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
            # asyncio sets it only on sockets it made itself; without it each answer waits 40 ms for the client's ACK.
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._port = self._listener.getsockname()[1]
        return self._port

    def start(self) -> threading.Thread:
        """Serve from a daemon thread. OSError if the port is taken."""
        if self._running:
            return self._running[1]
        import uvicorn

        from . import __version__

        config = uvicorn.Config(
            self._app,
            http=_protocol(),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("Server", f"{self._name}/{__version__}")],
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=self._grace,
        )
        config.load()
        self.listen()
        server, listener = uvicorn.Server(config), self._listener
        thread = threading.Thread(target=_run, args=(server, listener), name=f"{self._name} {self._port}", daemon=True)
        thread.start()
        self._running = server, thread
        return thread

    def stop(self) -> None:
        """Finish what is being answered and free the port; harmless when it is not running."""
        running, listener = self._running, self._listener
        self._running = self._listener = None
        if running:
            server, thread = running
            server.should_exit = True
            thread.join()
        elif listener:
            listener.close()

    def serve_forever(
        self,
        goes_on: Callable[[], bool] = lambda: True,
        ready: Callable[[], object] = lambda: None,
        stop: Callable[[], object] | None = None,
    ) -> None:
        """Serve in the foreground until SIGINT, SIGTERM, a `stop()` from elsewhere, or the end of `goes_on`.

        `ready` is called when connections are accepted and the signals are waited for, `stop` in place of our own at
        the end, while another signal changes nothing.
        """
        import signal

        asked_to_stop: list[int] = []
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda n, frame: asked_to_stop.append(n)) for number in signals}
        try:
            thread = self.start()
            ready()
            # Short naps: on Windows nothing wakes a thread that waits on a lock, not even Ctrl-C.
            while not asked_to_stop and thread.is_alive() and goes_on():
                thread.join(0.2)
        finally:
            (stop or self.stop)()
            for number, handler in before.items():
                signal.signal(number, handler)


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    with listener:  # an older uvicorn does not close it when it is stopped in its first moment
        server.run([listener])


def _protocol() -> type[Any]:
    """HTTP/1.1 with a deadline for the head of each request: uvicorn has one for the pause before it only."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        _deadline: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._wait_no_longer()
            elif self._deadline is None:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_longer()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._wait_no_longer()
            self._deadline = self.loop.call_later(HEAD, self._give_up)

        def _wait_no_longer(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
                self.transport.close()

    return Impatient
