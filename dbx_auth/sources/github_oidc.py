"""github-oidc: the ID token of a GitHub Actions job, traded at the workspace's own token endpoint."""

from dbx_auth import oauth, workload
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("host",)
ambient = True


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new token each time; a client id means a service principal's federation policy, none means the account's."""
    workload.require_github(world)
    profile.require_host()
    wanted = oauth.blank(profile, profile.value("client_id"))
    endpoints = oauth.discover(wanted, world)
    id_token = workload.github(world, profile.value("token_audience") or endpoints.audience)
    grant = oauth.exchange_token(endpoints, id_token, wanted, world)
    return Token(grant.access, grant.expires_at, "github-oidc", "GitHub Actions", profile.host, refreshable=True)
