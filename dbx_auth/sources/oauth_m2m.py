"""oauth-m2m: a service principal's id and secret, traded at the workspace's own token endpoint."""

from dbx_auth import oauth
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("client_id", "client_secret", "host")
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new access token each time: the server gives as many as are asked for, so none is kept."""
    wanted = oauth.blank(profile, profile.value("client_id"))
    grant = oauth.client_credentials(wanted, profile.value("client_secret"), world)
    origin = profile.origin("client_secret")
    return Token(grant.access, grant.expires_at, "oauth-m2m", origin, profile.host, refreshable=True)
