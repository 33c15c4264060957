"""Google's identities, through google-auth: an ID token for the workspace, and an access token beside it.

https://docs.databricks.com/gcp/en/dev-tools/auth/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from .errors import ConfigError, Refused, Temporary, Unavailable
from .profile import Profile
from .tokens import Token, claims
from .world import World, masked, one_line

SCOPES = ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/compute"]

PROBE = 1.0
"""Seconds that a metadata server may take to show that it is there."""


def require(profile: Profile) -> None:
    """Raise Unavailable unless the settings or the host say that this is about Google Cloud."""
    profile.require_host()
    if profile.cloud != "GCP":
        raise Unavailable(f"{profile.host} is not on Google Cloud, and no setting says so (DATABRICKS_CLOUD)")


def library() -> ModuleType:
    """google.auth, which is an extra."""
    try:
        import google.auth
    except ImportError:
        raise ConfigError("google-auth is not installed", hint="pip install 'dbx-auth[google]'") from None
    import logging

    logging.getLogger("google").addHandler(logging.NullHandler())  # it warns on stderr of what we tell in our words
    found: ModuleType = google.auth
    return found


Asks = Callable[["Door"], str]
"""Goes through the door and comes back with a token."""


def token(profile: Profile, world: World, auth_type: str, origin: str, id_token: Asks, access_token: Asks) -> Token:
    """The ID token is for the workspace; the access token goes beside it, if there is one."""
    if world.offline:
        raise Refused("Google was not asked, as --no-refresh says", hint="leave out --no-refresh")
    door = Door(world)
    with _our_errors():
        value = id_token(door)
    extra = {}
    try:
        with _our_errors():
            extra["X-Databricks-GCP-SA-Access-Token"] = access_token(door)
    except (Refused, Temporary) as error:  # only calls that touch Google's own resources need it
        world.note(f"{auth_type}: no access token: {error}")
    ends = claims(value).get("exp")
    expires_at = float(ends) if isinstance(ends, int | float) else world.now() + 3600
    return Token(value, expires_at, auth_type, origin, profile.host, refreshable=True, extra=extra)


def of(credentials: Any) -> Asks:
    """The token of one of google-auth's credentials, made anew."""

    def ask(door: Door) -> str:
        credentials.refresh(door)
        return str(credentials.token)

    return ask


@contextmanager
def _our_errors() -> Iterator[None]:
    from google.auth import exceptions

    try:
        yield
    except exceptions.GoogleAuthError as error:
        said = one_line(masked(str(error.args[0] if error.args else error)))
        if error.retryable:
            raise Temporary(f"Google gave no token: {said}", hint="try again in a while") from error
        raise Refused(f"Google gave no token: {said}", hint="check the service account and its roles") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("Google gave no token, but something else", hint="check the network") from error


def is_known(world: World) -> bool:
    """Whether Google could know somebody here: by a file, or by a metadata server that answers at once.

    google-auth by itself would ask three times, with pauses, on a machine where nobody answers.
    """
    env = world.env
    folder = env.get("CLOUDSDK_CONFIG") or os.path.join(
        env.get("APPDATA", world.home) if world.platform == "win32" else os.path.join(world.home, ".config"), "gcloud"
    )
    if env.get("GOOGLE_APPLICATION_CREDENTIALS") or os.path.exists(
        os.path.join(folder, "application_default_credentials.json")
    ):
        return True
    host = env.get("GCE_METADATA_HOST") or "metadata.google.internal"
    try:
        answer = world.http("GET", f"http://{host}/", headers={"Metadata-Flavor": "Google"}, budget=PROBE)
    except Temporary:
        return False
    return answer.headers.get("metadata-flavor") == "Google"


class Door:
    """Lets google-auth out through `world.http`, with its deadline, its proxies and its certificates."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nobody_there: set[str] = set()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **rest: Any,
    ) -> Any:
        from google.auth import exceptions

        host = url.partition("://")[2].partition("/")[0]
        metadata = url.startswith("http://")
        budget = min(timeout or 30.0, PROBE if metadata else 30.0)
        try:
            if host in self._nobody_there:
                raise Temporary(f"{host} does not answer", hint="")
            content = body.encode() if isinstance(body, str) else body
            answer = self._world.http(method, url, headers=headers, content=content, budget=budget)
        except Temporary as error:
            self._nobody_there.add(host)
            raise exceptions.TransportError(str(error), retryable=True) from error
        if answer.busy:
            raise exceptions.TransportError(f"{host} answered {answer.status}", retryable=True)
        return _Reply(answer.status, answer.headers, answer.body)


class _Reply:
    """An answer as google-auth wants to see it."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data
