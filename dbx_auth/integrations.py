"""Hooks for libraries that take credentials in a shape of their own.

Each gives a fresh token for every request, and none to another host: a login that changes while a client lives does not
take the client's requests elsewhere. The libraries are imported by those who use them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .credentials import Credentials
from .errors import ConfigError
from .protocols import host_of
from .tokens import Token

if TYPE_CHECKING:
    from databricks.sdk.config import Config
    from databricks.sdk.credentials_provider import CredentialsStrategy
    from databricks.sdk.oauth import Token as SdkToken


def credentials_strategy(credentials: Credentials | None = None) -> CredentialsStrategy:
    """What the Databricks SDK takes: `WorkspaceClient(credentials_strategy=credentials_strategy())`.

    Where nothing else tells the client its host, it is that of the credentials. Making the client raises ConfigError
    when it is for another host, and so does a request once the credentials are for another one.
    Source: databricks/sdk/credentials_provider.py of databricks-sdk.
    """
    from databricks.sdk.credentials_provider import CredentialsStrategy, OAuthCredentialsProvider
    from databricks.sdk.oauth import Token as SdkToken

    source = credentials or Credentials()

    class Strategy(CredentialsStrategy):
        def auth_type(self) -> str:
            return "dbx-auth"

        def __call__(self, cfg: Config) -> OAuthCredentialsProvider:
            cfg.host = cfg.host or source.host
            host = cfg.host
            _check(source.host, host)

            def headers() -> dict[str, str]:
                return dict(_token_for(host, source).headers)

            return OAuthCredentialsProvider(headers, lambda: _as_sdk(_token_for(host, source), SdkToken))

    return Strategy()


def credentials_provider(credentials: Credentials | None = None) -> Callable[[], Callable[[], dict[str, str]]]:
    """What databricks-sql-connector takes: `sql.connect(…, credentials_provider=credentials_provider(credentials))`.

    The connector asks it once for each connection, and what that returns for the headers of each request. A request
    raises ConfigError once the credentials are for another host than they were when the connection was made.
    `server_hostname` has to be the host of the credentials: the connector does not tell whom it talks to.
    Source: databricks/sql/auth/authenticators.py of databricks-sql-connector.
    """
    source = credentials or Credentials()

    def provide() -> Callable[[], dict[str, str]]:
        host = source.host
        return lambda: _in_lower_case(_token_for(host, source))

    return provide


def _in_lower_case(token: Token) -> dict[str, str]:
    """Headers that the connector passes on as they are.

    One that is spelled `Authorization` it keeps for an hour when it cannot read its expiry, trades for another token
    where the issuer is not the workspace, and sends without the headers beside it (auth/token_federation.py of 4.9).
    A header is the same in any case (RFC 9110, 5.1).
    """
    return {name.lower(): value for name, value in token.headers.items()}


def _token_for(host: str, source: Credentials) -> Token:
    token = source.token()
    _check(token.host, host)
    return token


def _check(ours: str, theirs: str) -> None:
    if host_of(ours) != host_of(theirs):
        raise ConfigError(
            f"the credentials are for {ours}, and this client is for {theirs}",
            hint=f"give the client host={ours!r}, or take Credentials(host={theirs!r})",
        )


def _as_sdk(token: Token, kind: type[SdkToken]) -> SdkToken:
    from datetime import UTC, datetime

    ends = None if token.expires_at is None else datetime.fromtimestamp(token.expires_at, UTC)
    return kind(token.value, token.token_type, expiry=ends)
