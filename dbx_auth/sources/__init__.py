"""The ways to get a token: one small module per auth type, asked in the order of `ORDER`.

A source has three names. `needs` are the settings it cannot do without; `ambient` says whether it stands on
something found on the machine, so that its failure is remembered and the next one asked, rather than on settings a
person wrote; `fetch` gets the token, or raises Unavailable ("not me") or an AuthError ("me, but broken").
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol, cast

from dbx_auth.errors import ConfigError
from dbx_auth.profile import Profile
from dbx_auth.refresh import Renew
from dbx_auth.store import Slot
from dbx_auth.tokens import Token
from dbx_auth.world import World

ORDER = (
    "pat",
    "stored",
    "basic",
    "oauth-m2m",
    "databricks-cli",
    "metadata-service",
    "github-oidc",
    "azure-devops-oidc",
    "env-oidc",
    "file-oidc",
    "github-oidc-azure",
    "azure-msi",
    "azure-client-secret",
    "azure-cli",
    "google-credentials",
    "google-id",
    "runtime",
)

FOR_GROUPS = {"oauth-m2m", "databricks-cli", "github-oidc", "azure-devops-oidc", "env-oidc", "file-oidc", "runtime"}
"""The auth types whose tokens can take the role of a group: those that the workspace's own token endpoint gives."""


class Keeper(Protocol):
    """How `resolve` gives a source a token that rests in a store: read it, and renew it under the lock if it must."""

    def fresh(self, slots: Iterable[Slot], renew: Renew) -> Token:
        """A fresh token from the first slot that has one. Raises Unavailable when all are empty."""
        ...


class Source(Protocol):
    needs: tuple[str, ...]
    ambient: bool

    def fetch(self, profile: Profile, world: World, keeper: Keeper) -> Token: ...


def load(auth_type: str) -> Source:
    """The module of an auth type. Raises ConfigError for one that does not exist, naming those that do."""
    if auth_type not in ORDER:
        raise ConfigError(
            f"there is no auth type {auth_type!r}; there are: {', '.join(ORDER)}", hint="unset DATABRICKS_AUTH_TYPE"
        )
    return cast(Source, import_module(f".{auth_type.replace('-', '_')}", __name__))
