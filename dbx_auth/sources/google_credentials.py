"""google-credentials: the key of a Google service account, in a file or as JSON."""

import json
from typing import Any

from dbx_auth import gcp
from dbx_auth.errors import ConfigError
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("google_credentials", "host")
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new ID token for the workspace each time, signed with the key."""
    gcp.require(profile)
    info = _key(profile, world)
    gcp.library()
    from google.oauth2 import service_account

    origin = profile.origin("google_credentials")
    try:
        id_token = service_account.IDTokenCredentials.from_service_account_info(info, target_audience=profile.host)
        access = service_account.Credentials.from_service_account_info(info, scopes=gcp.SCOPES)
    except (ValueError, KeyError, TypeError):  # whose text may hold parts of the key
        raise ConfigError(f"google_credentials ({origin}) is not the key of a service account", hint=_HINT) from None
    return gcp.token(profile, world, "google-credentials", origin, gcp.of(id_token), gcp.of(access))


_HINT = "export GOOGLE_CREDENTIALS=<path of the key's JSON file>"


def _key(profile: Profile, world: World) -> dict[str, Any]:
    text, origin = profile.value("google_credentials"), profile.origin("google_credentials")
    if not text.lstrip().startswith("{"):
        path = world.expand(text)
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"the file of google_credentials ({origin}) cannot be read: {why}", hint=_HINT) from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"google_credentials ({origin}) is not a JSON object", hint=_HINT)
    if not str(found.get("token_uri") or "https://").startswith("https://"):
        raise ConfigError(f"google_credentials ({origin}) names a token_uri that is not https", hint=_HINT)
    return found
