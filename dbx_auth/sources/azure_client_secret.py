"""azure-client-secret: an Entra service principal's id and secret."""

from dbx_auth import entra
from dbx_auth.profile import Profile
from dbx_auth.tokens import Token
from dbx_auth.world import World

from . import Keeper

needs = ("azure_client_id", "azure_client_secret")
ambient = False


def fetch(profile: Profile, world: World, keeper: Keeper) -> Token:
    """A new token of Entra ID each time."""
    profile = entra.on_azure(profile)
    ask = entra.with_credential(profile, world, profile.value("azure_client_secret"))
    return entra.token(profile, world, "azure-client-secret", profile.origin("azure_client_secret"), ask)
