"""metadata-service: a token server on loopback, such as the one of the Databricks extension for VS Code."""

from dbx_auth import hosts
from dbx_auth.errors import AuthError, ConfigError, Refused, Temporary
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token, is_one_word, parse_expiry
from dbx_auth.world import World

from . import Keeper

needs = ("metadata_service_url", "host")
ambient = True

BUDGET = 10.0
"""Seconds for asking the server, which may have to renew its token first."""

_NAME = "the metadata service"
_HINT = "start the program that serves it, or unset DATABRICKS_METADATA_SERVICE_URL"


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """What the server has for this host. Its address is a secret, and is in no message."""
    url, origin = profile.value("metadata_service_url"), profile.origin("metadata_service_url")
    if not is_one_word(url) or not hosts.is_loopback(url.partition("?")[0]):
        raise ConfigError(f"the metadata service of {origin} is not on this machine", hint=_HINT)
    try:
        with world.waiting(f"asking {_NAME}", BUDGET):
            headers = {"X-Databricks-Metadata-Version": "1", "X-Databricks-Host": profile.host}
            answer = world.http("GET", url, headers=headers, budget=BUDGET, shown=_NAME)
        if answer.busy:
            raise Temporary(f"{_NAME} answered {answer.status}", hint=_HINT)
        if not answer.ok:
            raise Refused(f"{_NAME} has no token for {profile.host}: it answered {answer.status}", hint=_HINT)
        body = answer.object()
    except AuthError as error:
        raise type(error)(str(error), hint=_HINT) from None
    value, kind = body.get("access_token"), body.get("token_type")
    if not isinstance(value, str) or not value or kind != "Bearer":
        raise Refused(f"{_NAME} answered without an access token that can be used", hint=_HINT)
    try:
        expires_at = parse_expiry(body.get("expires_on"))
    except ValueError:
        expires_at = None
    if expires_at is None:
        raise Refused(f"{_NAME} does not say when its token ends", hint=_HINT)
    return Token(value, expires_at, "metadata-service", origin, profile.host, refreshable=True)
