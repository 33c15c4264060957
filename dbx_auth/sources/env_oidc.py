"""env-oidc: an ID token in an environment variable, traded at the workspace's own token endpoint."""

from dbx_auth import oauth
from dbx_auth.errors import ConfigError, Unavailable
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("host",)
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new token each time, for the ID token as it is now."""
    named = profile.value("oidc_token_env")
    name = named or "DATABRICKS_OIDC_TOKEN"
    id_token = world.env.get(name, "").strip()
    if not id_token and named:
        raise ConfigError(
            f"oidc_token_env names {name} ({profile.origin('oidc_token_env')}), which is not set",
            hint=f"export {name}=<an ID token>",
        )
    if not id_token:
        raise Unavailable(f"not set: {name}")
    profile.require_host()
    grant = oauth.federated(profile, id_token, world)
    return Token(grant.access, grant.expires_at, "env-oidc", f"env {name}", profile.host, refreshable=True)
