"""A gateway on loopback: any client, any model, always a fresh token. It needs the extra `dbx-auth[gateway]`.

    with Server(Credentials()) as server:
        OpenAI(base_url=f"{server.url}/v1", api_key=server.key)

For a team behind a balancer there is `app`, an ASGI application for any number of workers; docs/scale.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from dbx_auth.credentials import Credentials
from dbx_auth.errors import ConfigError
from dbx_auth.loopback import Loopback
from dbx_auth.world import World, no_core_dumps

from . import key as keys
from .guard import Door

if TYPE_CHECKING:
    from types import TracebackType

    from .relay import Gateway, Served

KEY = keys.NAME
HOSTS = "DBX_AUTH_GATEWAY_HOSTS"

GRACE = 10
"""Seconds that answers which have begun may go on when the gateway is stopped."""

LEAVING = 35.0
"""Seconds to wait for a refresh that has begun: who leaves in the middle of one may lose the login."""


class Server:
    """One gateway, at `url`, for who has `key`; with `metadata` also a metadata service, at `metadata_url`.

    `port` 0 is any free one; `told` is told of each request when it is over. Raises ConfigError for a key that is no
    key, and OSError on `start` if the port is taken.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        port: int = 0,
        key: str = "",
        metadata: bool = False,
        told: Callable[[Served], object] | None = None,
    ) -> None:
        from .relay import Gateway

        self.key = keys.checked(key) if key else keys.new()
        self.url = ""
        self._credentials = credentials
        self._secret = f"/metadata/{secrets.token_urlsafe(32)}" if metadata else ""
        self._gateway = Gateway(credentials, Door(self.key, frozenset()), told)
        self._server = Loopback(self._gateway, port, name="dbx-auth-gateway", grace=GRACE)

    @property
    def metadata_url(self) -> str:
        return self.url + self._secret if self._secret else ""

    def start(self) -> Self:
        """Serve from a daemon thread; connections are accepted when this returns."""
        port = self._server.listen()
        self.url = f"http://127.0.0.1:{port}"
        self._gateway.door = Door(self.key, frozenset((f"127.0.0.1:{port}", f"localhost:{port}")), self._secret)
        self._server.start()
        return self

    def stop(self) -> None:
        """Finish what is being answered, and a refresh that has begun."""
        self._server.stop()
        self._credentials.settle(LEAVING)

    def serve_forever(
        self, goes_on: Callable[[], bool] = lambda: True, ready: Callable[[], object] = lambda: None
    ) -> None:
        """Serve in the foreground until SIGINT, SIGTERM, a `stop()` from elsewhere, or the end of `goes_on`.

        `ready` is called when connections are accepted and the signals are waited for.
        """
        self.start()
        self._server.serve_forever(goes_on, ready, self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def app() -> Gateway:
    """The application alone, for `uvicorn --factory dbx_auth.gateway:app`; the environment has its key and its names.

    DBX_AUTH_GATEWAY_KEY is the key, DBX_AUTH_GATEWAY_HOSTS the values of Host it answers to, with a comma between two.
    """
    from .relay import Gateway

    world = World.system()
    hosts = frozenset(filter(None, (host.strip().lower() for host in world.env.get(HOSTS, "").split(","))))
    if not hosts:
        text = f"{HOSTS} does not say which names this gateway answers to"
        raise ConfigError(text, hint=f"export {HOSTS}=models.example.com")
    no_core_dumps()
    return Gateway(Credentials(world=world), Door(keys.checked(world.env.get(KEY, "")), hosts))
