"""github-oidc-azure: the ID token of a GitHub Actions job, in place of an Entra service principal's secret."""

from dbx_auth import entra, workload
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("azure_client_id",)
ambient = True


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new token of Entra ID each time, for an ID token of this moment."""
    workload.require_github(world)
    profile = entra.on_azure(profile)
    assertion = workload.github(world, entra.EXCHANGE_AUDIENCE)
    ask = entra.with_credential(profile, world, lambda: assertion)
    return entra.token(profile, world, "github-oidc-azure", "GitHub Actions", ask)
