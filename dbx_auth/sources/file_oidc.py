"""file-oidc: an ID token in a file, as Kubernetes keeps one fresh, traded at the workspace's own token endpoint."""

from dbx_auth import oauth
from dbx_auth.errors import ConfigError
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import MEBIBYTE, World

from . import Keeper

needs = ("oidc_token_filepath", "host")
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new token each time, for the ID token that is in the file now."""
    path = world.expand(profile.value("oidc_token_filepath"))
    origin = profile.origin("oidc_token_filepath")
    try:
        with open(path, "rb") as file:
            id_token = file.read(MEBIBYTE).decode().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"the ID token file {path} ({origin}) cannot be read: {why}", hint=f"ls -l {path}") from None
    if not id_token:
        raise ConfigError(f"the ID token file {path} ({origin}) is empty", hint="look at what writes it")
    grant = oauth.federated(profile, id_token, world)
    return Token(grant.access, grant.expires_at, "file-oidc", f"file {path}", profile.host, refreshable=True)
