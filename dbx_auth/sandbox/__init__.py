"""An emulated Databricks workspace on loopback, strict where the real one is.

    with Sandbox(auto_approve=True) as sandbox:
        run_my_tool(env={"DATABRICKS_HOST": sandbox.url})
        assert ("POST", "/oidc/v1/token", 200, "authorization_code") in sandbox.log

It needs the extra `dbx-auth[sandbox]`, and imports it when a `Sandbox` is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from dbx_auth.loopback import Loopback

from . import workspace
from .log import Request
from .oauth import AuthorizationServer, Login
from .workspace import ACCOUNT_ID, OIDC, USER, WORKSPACE_ID, Kind

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Kind", "Login", "Request", "Sandbox"]


class Sandbox:
    """One workspace: a URL, a person, a service principal, and the requests it has seen.

    With `kind` it is an account console instead, or a unified host: an account and its workspace under one name.
    `token_ttl` is the life of access tokens in seconds; `auto_approve` lets every login pass without a page, `now` is
    the clock (epoch seconds), `endpoints` how many serving endpoints there are in all, where that is to be more than a
    few of each kind. A sandbox that was stopped can be started again: it has the same URL and still honours
    the tokens it gave, as a workspace does that was away for a moment.
    """

    def __init__(
        self,
        *,
        kind: Kind = "workspace",
        port: int = 0,
        auto_approve: bool = False,
        token_ttl: float = 3600.0,
        now: Callable[[], float] = time.time,
        endpoints: int = 0,
    ) -> None:
        from .app import application

        self._oauth = AuthorizationServer(USER, token_ttl=token_ttl, now=now)
        self.url = ""
        self.kind = kind
        self.user = USER.user_name
        self.account_id = ACCOUNT_ID
        self.workspace_id = WORKSPACE_ID
        self.pat = self._oauth.pat
        self.client_id = self._oauth.client_id
        self.client_secret = self._oauth.client_secret
        self.log: list[Request] = []
        app = application(
            self._oauth, self.log, kind=kind, auto_approve=auto_approve, served=workspace.endpoints(endpoints)
        )
        self._server = Loopback(app, port, name="dbx-auth-sandbox", grace=1)

    def start(self) -> Self:
        """Serve from a daemon thread; connections are accepted when this returns. OSError if the port is taken."""
        self.url = f"http://127.0.0.1:{self._server.listen()}"
        self._oauth.issuer = self.url + OIDC[self.kind]
        self._server.start()
        return self

    def stop(self) -> None:
        """Finish what is being answered and free the port; harmless when it is not running."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def serve_forever(self) -> None:
        """Serve in the foreground until SIGINT, SIGTERM or a `stop()` from elsewhere, then return."""
        self.start()
        self._server.serve_forever()

    def add_login(
        self, *, scopes: str = "all-apis offline_access", client_id: str = "databricks-cli", group_id: str = ""
    ) -> Login:
        """A login as if a person had gone through the browser with this client; a new client id is registered.

        With a `group_id` it is in the role of that group.
        """
        return self._oauth.log_in(scopes, client_id, group_id)
